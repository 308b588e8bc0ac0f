import dataclasses

import pytest

from analysis import scores
from bench import algos, check_config, config, env_config, envs
from bench.compose import SCHEMAS, compose, to_run_config
from bench.errors import UserError
from bench.ops import divergences

CLASSIC = ["env=classic"]


def typed(*overrides: str) -> config.RunConfig:
    return to_run_config(compose([*overrides]))


def refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        typed(*overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- names that stand twice ---------------------------------------------------------------------------------------


def test_divergence_names_are_those_of_the_operators():
    assert sorted(config.DIVERGENCES) == sorted(divergences.DIVERGENCES)


def test_algorithm_names_are_those_of_the_registry():
    assert set(config.DAPO_NAMES) == {name for name, entry in algos.ALGOS.items() if entry.endswith(":Dapo")}


def test_every_suite_of_environments_has_its_schema():
    assert set(env_config.SUITE_CONFIGS) == set(envs.SUITES)


def test_schemas_have_no_defaults():
    for _, _, schema in SCHEMAS:
        for field in dataclasses.fields(schema):
            assert field.default is dataclasses.MISSING, f"{schema.__name__}.{field.name}"
            assert field.default_factory is dataclasses.MISSING, f"{schema.__name__}.{field.name}"


# --- the published schedule ---------------------------------------------------------------------------------------


def test_the_papers_setting_generates_896_steps_per_actor_and_version():
    run = typed("env=atari", "hparams=dapo_neurips2019")
    assert run.env.num_envs == 16
    assert run.algo.collect_per_env(run.env.num_envs) == 896
    assert run.algo.collect_per_env(run.env.num_envs) * run.env.num_envs == 14_336


def test_the_papers_setting_trains_seven_times_on_each_step_nearly():
    run = typed("env=atari", "hparams=dapo_neurips2019")
    trained = run.algo.updates_per_version * run.algo.batch_size
    assert trained / 14_336 == pytest.approx(7.0, rel=0.03)  # whole roll-outs: 7.14


def test_the_cpu_setting_keeps_reuse_and_replay_of_the_paper():
    run = typed("env=atari", "hparams=dapo_cpu")
    steps = run.algo.collect_per_env(run.env.num_envs)
    assert steps * run.env.num_envs == 1_024
    assert run.algo.updates_per_version * run.algo.batch_size / 1_024 == 7.0
    assert run.algo.replay_capacity / steps == 18  # versions; the paper's 16 384 / 896 is 18.3


def test_collecting_counts_whole_roll_outs_only():
    run = typed(*CLASSIC, "algo.updates_per_version=29")  # 29 * 256 / (7 * 8) = 132.57 steps, roll-outs of 16
    assert run.algo.collect_per_env(8) == 128


# --- refused values: (override, the same key with a value that is fine, what the sentence must hold) ---------------

REFUSED = [
    ("steps=1e6", "steps=1_000_000", ("steps", "integer", "1_000_000")),
    ("steps=abc", "steps=4096", ("steps", "'abc'", "integer")),
    ("steps=0", "steps=4096", ("steps is 0",)),
    ("steps=null", "steps=4096", ("steps",)),
    ("seed=-1", "seed=0", ("seed is -1", "2^31")),
    ("seed=2147483648", "seed=2147483647", ("seed", "2^31")),
    ("seed=1.5", "seed=1", ("seed", "1.5", "integer")),
    ("threads=0", "threads=2", ("threads is 0",)),
    ("device=tpu", "device=cpu", ("device", "cpu, cuda")),
    ("store=", "store=here", ("store", "folder")),
    ("env.num_envs=0", "env.num_envs=4", ("env.num_envs is 0",)),
    ("logger.mode=disabled", "logger.mode=online", ("logger.mode", "offline, online")),
    ("algo.divergence=js", "algo.divergence=entropy", ("algo.divergence", "entropy, hellinger")),
    ("algo.horizon=-1", "algo.horizon=3", ("algo.horizon", "null (full)")),
    ("algo.horizon=full", "algo.horizon=null", ("algo.horizon", "integer")),
    ("algo.gamma=1.0", "algo.gamma=0.5", ("algo.gamma", "0 <= gamma < 1")),
    ("algo.gamma=nan", "algo.gamma=0.0", ("algo.gamma",)),
    ("algo.lam=1.5", "algo.lam=1.0", ("algo.lam",)),
    ("algo.clip=0", "algo.clip=0.1", ("algo.clip",)),
    ("algo.learning_rate=inf", "algo.learning_rate=1e-4", ("algo.learning_rate", "finite")),
    ("algo.inv_eta=-0.5", "algo.inv_eta=0", ("algo.inv_eta",)),
    ("algo.inv_eta=inf", "algo.inv_eta=4", ("algo.inv_eta",)),
    ("algo.recurrent=maybe", "algo.recurrent=true", ("algo.recurrent", "maybe")),
    ("algo.name=foo", "algo.name=dapo", ("algo.name", "a2c, dapo")),
    # combinations
    ("steps=100 algo.burn_in=0", "steps=128 algo.burn_in=0", ("steps is 100", "roll-out", "128")),
    ("algo.rollout_length=30", "algo.rollout_length=32", ("algo.rollout_length is 30", "divisor", "256")),
    ("algo.replay_capacity=64", "algo.replay_capacity=128", ("algo.replay_capacity", "128")),
    ("env.num_envs=1024", "env.num_envs=16", ("algo.rollout_length", "num_envs")),
]


@pytest.mark.parametrize(("bad", "good", "says"), REFUSED, ids=[bad for bad, _, _ in REFUSED])
def test_a_wrong_value_is_refused_by_name(bad, good, says):
    sentence = refusal(*CLASSIC, *bad.split())
    for words in says:
        assert words in sentence
    typed(*CLASSIC, *good.split())  # so it was the value, not the key


def test_an_lstm_without_roll_outs_is_refused():
    assert "LSTM" in refusal(*CLASSIC, "algo.recurrent=true", "algo.rollout_length=1")
    typed(*CLASSIC, "algo.recurrent=false", "algo.rollout_length=1")
    typed(*CLASSIC, "algo.recurrent=true", "algo.rollout_length=2")


def test_ppo_with_a_divergence_is_refused():
    assert "algo.inv_eta" in refusal(*CLASSIC, "algo=ppo", "algo.inv_eta=0.5")
    typed(*CLASSIC, "algo=dapo", "algo.inv_eta=0.5")


def test_a_suite_cannot_be_changed_under_its_environment():
    assert "env=tabular" in refusal(*CLASSIC, "env.suite=tabular", "env.task=chain")
    typed("env=tabular", "env.task=chain")


@pytest.mark.parametrize(
    ("suite", "task", "nearest"),
    [
        ("atari", "Qbret", "Qbert"),
        ("atari", "qbert", "Qbert"),
        ("atari", "Montezuma", "MontezumaRevenge"),
        ("classic", "CartPole", "CartPole-v1"),
        ("tabular", "chian", "chain"),
    ],
)
def test_an_unknown_task_is_answered_with_the_nearest(suite, task, nearest):
    sentence = refusal(f"env={suite}", f"env.task={task}")
    assert f"{task!r}" in sentence
    assert f"nearest is {nearest!r}" in sentence
    typed(f"env={suite}", f"env.task={nearest}")


@pytest.mark.parametrize(
    "key", ["repeat_action_probability=1.0", "frame_skip=0", "noop_max=-1", "max_frames=0", "no_reward_limit=-1"]
)
def test_an_impossible_protocol_is_refused(key):
    assert key.split("=")[0] in refusal("env=atari", f"env.protocol.{key}")
    typed("env=atari")


# --- unknown keys -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("algo.inv_etta=0.3", "algo.inv_eta"),
        ("stepz=3", "steps"),
        ("env.protocol.frame_skp=4", "env.protocol.frame_skip"),
        ("+algo.clipp=0.1", "algo.clip"),
        ("+stepz=3", "steps"),
        ("++env.num_env=3", "env.num_envs"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(override, nearest):
    sentence = refusal("env=atari", override)
    assert repr(override.lstrip("+").split("=")[0]) in sentence
    assert f"nearest is {nearest!r}" in sentence


def test_a_key_that_this_environment_does_not_have_is_refused():
    assert "env.protocol" in refusal(*CLASSIC, "env.protocol.frame_skip=3")
    typed("env=atari", "env.protocol.frame_skip=3")


def test_forcing_a_known_key_is_allowed():
    assert typed(*CLASSIC, "++seed=3").seed == 3


def test_a_removed_key_is_refused():
    assert "seed" in refusal(*CLASSIC, "~seed")
    assert "algo.clip" in refusal(*CLASSIC, "~algo.clip")


def test_metrics_that_a_claim_may_name_are_those_of_the_analysis():
    assert sorted(check_config.METRICS) == sorted(scores.METRICS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"metric": "aucc"}, "metric is 'aucc'; allowed: "),
        ({"direction": "greatr"}, "direction is 'greatr'; allowed: greater"),
        ({"normalise": "humane"}, "normalise is 'humane'"),
        ({"contrast": []}, "one arm, two or four"),
        ({"contrast": ["a", "b", "c"]}, "one arm, two or four"),
        ({"direction": "every_above"}, "every_below"),
        ({"alpha": 0.0}, "0 < alpha < 1"),
        ({"margin": -1.0}, "0 or more"),
        ({"direction": "equal"}, "above 0 with equal"),
        ({"paper": "ppo"}, "paper is 'ppo'; allowed: dapo, dpo, this_project"),
        ({"section": "Figure 1"}, "section is 'Figure 1'; allowed: blank with paper this_project"),
        ({"pairing": "none"}, "pairing is 'none'; allowed: task_and_seed with 2 entries in the contrast"),
        ({"contrast": ["a"]}, "pairing is 'task_and_seed'; allowed: none with 1 entries in the contrast"),
        ({"protocol": "evaluation"}, "protocol is 'evaluation'; allowed: training_games with auc"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused_before_its_runs(change, sentence):
    fine = {"id": "c", "statement": "s", "source": "s", "contrast": ["a", "b"], "tasks": None, "metric": "auc"}
    fine |= {"normalise": None, "direction": "greater", "margin": 0.0, "alpha": 0.05, "min_budget": 0.0}
    fine |= {"paper": "this_project", "section": "", "pairing": "task_and_seed", "protocol": "training_games"}
    check_config.ClaimConfig(**fine)
    check_config.ClaimConfig(**fine | {"contrast": ["a", "b", "c", "d"], "normalise": "range"})
    check_config.ClaimConfig(**fine | {"contrast": ["a"], "pairing": "none", "direction": "every_below"})
    with pytest.raises(UserError, match=sentence):
        check_config.ClaimConfig(**fine | change)


def test_arms_are_chosen_by_score_only_where_some_seeds_are_for_choosing():
    claim = {"id": "c", "statement": "s", "source": "s", "contrast": ["best()", "a"], "tasks": None, "metric": "auc"}
    claim |= {"normalise": None, "direction": "greater", "margin": 0.0, "alpha": 0.05, "min_budget": 0.0}
    claim |= {"paper": "this_project", "section": "", "pairing": "task_and_seed", "protocol": "training_games"}
    check = {"name": "n", "question": "q", "source": "s", "base": [], "arms": {}, "tasks": {}, "scales": {}}
    check |= {"claims": [check_config.ClaimConfig(**claim)], "reference": None}
    check_config.CheckConfig(**check, tuning_seeds=1)
    blank = check | {"claims": [check_config.ClaimConfig(**claim | {"protocol": ""})]}  # as in plans of old
    with pytest.raises(UserError, match=r"check\.claims \(c\)\.protocol is ''; allowed: training_games, evaluation"):
        check_config.CheckConfig(**blank, tuning_seeds=1)
    with pytest.raises(UserError, match=r"check\.claims \(c\)\.contrast .* check\.tuning_seeds above 0"):
        check_config.CheckConfig(**check, tuning_seeds=0)
    with pytest.raises(UserError, match="tuning_seeds is -1"):
        check_config.CheckConfig(**check, tuning_seeds=-1)


EXACT = ["algo=proposition1", "env=exact"]


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algo.gammas=[]", "algo.gammas is []; allowed: one number and more"),
        ("algo.gammas=[0.5,1.0]", "0 <= gamma < 1"),
        ("algo.lambdas=[2.0]", "0 <= lambda <= 1"),
        ("algo.log10_rewards=[1,0]", "algo.log10_rewards is [1.0, 0.0]; allowed: two numbers, the smaller first"),
        ("env.task=garnet_smal", "nearest is 'garnet_small'"),
        ("algo=exact_ascent algo.horizon=3", "algo.horizon is 3; allowed: null (full) or 0 (1-step)"),
        ("algo=exact_ascent algo.updates_per_version=0", "algo.updates_per_version is 0"),
    ],
)
def test_a_wrong_value_of_an_exact_program_is_refused_by_name(override, says):
    assert says in refusal(*EXACT, *override.split())
    typed(*EXACT)


def test_every_suite_of_environments_has_a_configuration_and_a_default_preset():
    assert set(env_config.SUITE_CONFIGS) == set(envs.SUITES)
    for suite in envs.SUITES:
        algo = "dpo" if suite in config.CONTINUOUS_SUITES else "dapo"
        to_run_config(compose([f"env={suite}", f"algo={algo}"]))
