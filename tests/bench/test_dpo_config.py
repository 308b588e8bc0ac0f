"""What is refused of the algorithms for continuous actions, and in which words."""

import pytest

from bench import algos, compose, dpo_config
from bench.errors import UserError
from bench.ops import distributions

DPO = ["algo=dpo", "env=mujoco"]
ON_POLICY = ["algo=on_policy", "env=mujoco"]
UAE = ["algo=uae_variance", "env=exact", "steps=7"]
FIT = ["algo=baseline_fit", "env=exact", "env.task=smooth"]
SAC = ["algo=sac", "env=mujoco"]
DISCRETE = ["env=classic", "hparams=dpo_discrete"]
TRPO = [*ON_POLICY, "learner=trpo"]


def configured(*overrides: str):
    return compose.to_run_config(compose.compose([*overrides]))


def refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as error:
        configured(*overrides)
    sentence = str(error.value)
    assert "\n" not in sentence
    return sentence


# --- what fits together -------------------------------------------------------------------


@pytest.mark.parametrize("algo", ["dpo", "on_policy", "sac"])
def test_an_unknown_task_names_the_nearest(algo):
    said = refusal(f"algo={algo}", "env=mujoco", "env.task=Hoper-v5")
    assert said.startswith("env.task is 'Hoper-v5', which env=mujoco does not have; the nearest is 'Hopper-v5'")


@pytest.mark.parametrize("algo", ["a2c", "dapo", "impala", "ppo"])
def test_an_algorithm_for_discrete_actions_names_its_relatives_for_continuous_ones(algo):
    said = refusal(f"algo={algo}", "env=mujoco")
    assert f"algo={algo}" in said
    assert "on_policy" in said
    assert "learner=ppo" in said


@pytest.mark.parametrize("algo", ["dpo", "on_policy"])
def test_a_beta_policy_is_refused_for_discrete_actions(algo):
    assert "a Beta policy does not have" in refusal(f"algo={algo}", "env=classic")
    said = refusal(f"algo={algo}", "env=classic", f"hparams={algo}_discrete", "algo.policy=beta")
    assert said.startswith("algo.policy is 'beta'; allowed: categorical with env=classic")


@pytest.mark.parametrize("algo", [DPO, ON_POLICY])
def test_a_categorical_policy_is_refused_for_continuous_actions(algo):
    said = refusal(*algo, "algo.policy=categorical")
    assert said.startswith("algo.policy is 'categorical'; allowed: beta, squashed_gaussian with env=mujoco")


def test_sac_is_refused_for_discrete_actions():
    refusal("algo=sac", "env=classic")


def test_an_unknown_learner_names_those_there_are():
    assert refusal(*DPO, "learner=xyz") == "learner is 'xyz'; allowed: a2c, ppo, trpo"
    assert refusal(*DPO, "learner=default_dpo") == "learner is 'default_dpo'; allowed: a2c, ppo, trpo"


@pytest.mark.parametrize("algo", ["dapo", "ppo"])
def test_a_learner_is_refused_where_the_algorithm_is_its_own(algo):
    assert "learner" in refusal(f"algo={algo}", "env=classic", "learner=ppo")


def test_sac_has_no_learner():
    assert "learner" in refusal(*SAC, "learner=ppo")


def test_a_run_shorter_than_an_iteration_is_refused():
    assert refusal(*DPO, "steps=2047").startswith("steps is 2047; allowed: 2048 and more")
    assert refusal(*ON_POLICY, "env.num_envs=2", "steps=4095").startswith("steps is 4095; allowed: 4096 and more")
    configured(*DPO, "steps=2048")


# --- single values --------------------------------------------------------------------------

REFUSED = [
    (DPO, "algo.omega=1.5", "algo.omega is 1.5; allowed: 0 <= omega <= 1"),
    (DPO, "algo.nu=-0.5", "algo.nu is -0.5; allowed: 0 <= nu <= 1"),
    (DPO, "algo.lam=nan", "algo.lam is nan; allowed: 0 <= lam <= 1"),
    (DPO, "algo.gamma=1.0", "algo.gamma is 1.0; allowed: 0 <= gamma < 1"),
    (DPO, "algo.tau=0.0", "algo.tau is 0.0; allowed: a number above 0"),
    (DPO, "algo.alpha=-1.0", "algo.alpha is -1.0; allowed: a finite number, 0 or more"),
    (DPO, "algo.utd=inf", "algo.utd is inf; allowed: a finite number, 0 or more"),
    (DPO, "algo.critic=huber", "algo.critic is 'huber'; allowed: gaussian, mse"),
    (DPO, "algo.advantage=vtrace", "algo.advantage is 'vtrace'; allowed: gae, uae"),
    (DPO, "algo.policy=gaussian", "algo.policy is 'gaussian'; allowed: beta, categorical, squashed_gaussian"),
    (DPO, "algo.hidden=[]", r"algo.hidden is []; allowed: a list of widths above 0"),
    (DPO, "algo.hidden=[64,0]", r"algo.hidden is [64, 0]; allowed: a list of widths above 0"),
    (DPO, "algo.batch_size=0", "algo.batch_size is 0; allowed: a number above 0"),
    (DPO, "algo.replay_capacity=255", "algo.replay_capacity is 255; allowed: algo.batch_size and more"),
    (DPO, "algo.critic_samples=0", "algo.critic_samples is 0; allowed: a number above 0"),
    (DPO, "algo.baseline_samples=0", "algo.baseline_samples is 0; allowed: a number above 0"),
    (DPO, "algo.sigma_fixed=0.0", "algo.sigma_fixed is 0.0; allowed: null or a number above 0"),
    (DPO, "algo.learner.clip=null", "algo.learner.clip is None; allowed: a finite number above 0 with learner=ppo"),
    (DPO, "algo.normalise.clip=0.0", "algo.normalise.clip is 0.0; allowed: a number above 0"),
    (TRPO, "algo.learner.max_kl=0.0", "algo.learner.max_kl is 0.0; allowed: a finite number above 0 with learner=trpo"),
    (TRPO, "algo.learner.minibatches=2", "algo.learner.minibatches is 2; allowed: 1 with learner=trpo"),
    (
        TRPO,
        "algo.learner.value_batch=0",
        "algo.learner.value_batch is 0; allowed: a finite number above 0 with learner=trpo",
    ),
    (TRPO, "algo.learner.clip=0.2", "algo.learner.clip is 0.2; allowed: null with learner=trpo"),
    (DPO, "algo.learner.max_kl=0.1", "algo.learner.max_kl is 0.1; allowed: null with learner=ppo"),
    (DPO, "algo.learner.value_updates=10", "algo.learner.value_updates is 10; allowed: null with learner=ppo"),
    (DPO, "device=cuda", "device is 'cuda'; allowed: cpu with algo=dpo"),
    (DPO, "algo.replay_capacity=256", "algo.replay_capacity is 256; allowed: 257 and more, to hold algo.batch_size"),
    (SAC, "steps=10_000", "steps is 10000; allowed: 10001 and more, beyond algo.random_steps"),
    (UAE, "steps=4", "steps is 4; allowed: 7, one for each of algo.lambdas"),
    (FIT, "env.task=garnet", "env.task is 'garnet'; allowed: four_rooms, smooth with algo=baseline_fit"),
    (SAC, "algo.batch_size=0", "algo.batch_size is 0; allowed: a number above 0"),
    (SAC, "algo.random_steps=-1", "algo.random_steps is -1; allowed: a finite number, 0 or more"),
    (SAC, "algo.report_every=0", "algo.report_every is 0; allowed: a number above 0"),
    (SAC, "algo.replay_capacity=255", "algo.replay_capacity is 255; allowed: algo.batch_size and more"),
]


@pytest.mark.parametrize(("base", "override", "says"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_a_value_out_of_its_range_is_refused_by_name(base, override, says):
    configured(*base)
    assert refusal(*base, override).startswith(says)


@pytest.mark.parametrize(
    ("base", "override"),
    [
        (DPO, "algo.learner.minibatches=2049"),  # of 2048 steps: one would be empty, its mean no number
        (TRPO, "algo.learner.backtrack=1.0"),  # no shorter step would ever be tried
        (TRPO, "algo.learner.max_kl=inf"),
        (DPO, "algo.sigma_fixed=inf"),
        (SAC, "algo.target_entropy=nan"),
    ],
)
def test_a_value_that_no_run_survives_is_refused(base, override):
    assert override.split("=")[0] in refusal(*base, override)


def test_a_fixed_sigma_needs_a_critic_that_has_one():
    assert refusal(*DPO, "algo.critic=mse", "algo.sigma_fixed=1.0").startswith("algo.sigma_fixed is 1.0")


def test_a_target_without_any_width_is_refused():
    assert "infinite" in refusal(*DPO, "algo.mask_terminal_sigma=true", "algo.sigma_floor=0.0")
    configured(*DPO, "algo.sigma_floor=0.0")


def test_a_discrete_action_has_no_unit_interval():
    assert "algo.policy" in refusal("algo=dpo", *DISCRETE, "algo.released.unscaled_baseline_actions=true")


# --- names held equal -------------------------------------------------------------------------


@pytest.mark.parametrize("algo", [DPO, ON_POLICY])
@pytest.mark.parametrize("learner", dpo_config.LEARNERS)
def test_every_learner_composes_with_both_algorithms(algo, learner):
    config = configured(*algo, f"learner={learner}").algo
    assert config.learner.name == learner
    assert configured(*algo).algo.learner.name == "ppo"


@pytest.mark.parametrize("name", dpo_config.POLICIES)
def test_a_policy_is_a_class_of_distributions(name):
    assert hasattr(distributions, name.title().replace("_", ""))


def test_the_algorithms_are_registered():
    assert {"dpo", "on_policy", "sac"} <= algos.ALGOS.keys()


def test_the_switches_of_the_released_code_are_off():
    assert vars(configured(*DPO).algo.released) == {
        "unscaled_baseline_actions": False,
        "reset_next_state": False,
        "zero_final_state": False,
    }
    assert all(vars(configured(*DPO, "hparams=dpo_released_code").algo.released).values())
