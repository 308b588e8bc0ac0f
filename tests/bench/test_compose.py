import ast
import copy
import re
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import compose
from bench.env_config import CONTINUOUS_SUITES
from bench.errors import UserError
from bench.identity import run_name

ROOT = Path(compose.__file__).resolve().parent.parent
CONF = ROOT / "conf"
LEAVES_OUT = set(compose.NOT_IDENTITY)


def presets(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def container(*overrides: str) -> dict:
    composed = compose.compose(list(overrides))
    compose.to_run_config(composed)
    return compose.to_container(composed)


# --- every YAML composes ------------------------------------------------------------------------------------------

# How a preset of a group becomes a run; checks and scales have their own test in test_plan.
USES = {
    "algo/released": "algo/released={}",
    "env/protocol": "env=atari env/protocol={}",
    "hparams": "hparams={}",
    "learner": "algo=dpo env=mujoco learner={}",
    "logger": "logger={}",
}
ELSEWHERE = {"algo", "env", "hparams/for", "check", "scale", "executor"}
CONTINUOUS = {"dpo", "on_policy", "sac"}  # algorithms of continuous actions; all but SAC have discrete ones too
COMPUTED = {"baseline_fit", "exact_ascent", "proposition1", "uae_variance"}  # algorithms without interaction
IMPLIED = {"default_dpo", "default_on_policy"}  # learners that nobody names
ENVIRONMENTS = ("atari", "classic", "tabular")


def test_every_group_of_conf_is_tested():
    groups = {str(path.parent.relative_to(CONF)) for path in CONF.rglob("*.yaml")} - {"."}
    assert groups == USES.keys() | ELSEWHERE
    assert {*ENVIRONMENTS, *CONTINUOUS_SUITES, "exact"} == set(presets("env"))


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_every_algorithm_that_trains_composes_with_every_environment(env):
    for algo in set(presets("algo")) - COMPUTED - CONTINUOUS:
        run = container(f"algo={algo}", f"env={env}")
        assert (run["algo"]["name"], run["env"]["suite"]) == (algo, env)


@pytest.mark.parametrize("env", CONTINUOUS_SUITES)
def test_every_algorithm_composes_with_continuous_actions_or_names_those_that_do(env):
    for algo in CONTINUOUS:
        run = container(f"algo={algo}", f"env={env}")
        assert (run["algo"]["name"], run["env"]["suite"]) == (algo, env)
    for algo in set(presets("algo")) - COMPUTED - CONTINUOUS:
        with pytest.raises(UserError, match=f"algo={algo} has discrete actions.*algo=on_policy .*algo=dpo or algo=sac"):
            container(f"algo={algo}", f"env={env}")


@pytest.mark.parametrize("env", ENVIRONMENTS)
@pytest.mark.parametrize("algo", ["dpo", "on_policy"])
def test_discrete_actions_need_a_preset_that_is_named(algo, env):
    with pytest.raises(UserError, match="a Beta policy does not have, algo=dpo needs hparams=dpo_discrete or"):
        container(f"algo={algo}", f"env={env}")
    with pytest.raises(UserError, match=f"algo.policy is 'beta'; allowed: categorical with env={env}"):
        container(f"algo={algo}", f"env={env}", f"hparams={algo}_cpu")
    for preset in (f"{algo}_discrete", f"{algo}_cpu_discrete"):
        assert container(f"algo={algo}", f"env={env}", f"hparams={preset}")["algo"]["policy"] == "categorical"


def test_a_learner_is_one_of_three_and_belongs_to_two_algorithms():
    for algo in ("dpo", "on_policy"):
        names = [
            container(f"algo={algo}", "env=mujoco", *extra)["algo"]["learner"]["name"]
            for extra in ([], ["learner=a2c"])
        ]
        assert names == ["ppo", "a2c"]
    with pytest.raises(UserError, match="learner is 'pppo'; allowed: a2c, ppo, trpo"):
        container("algo=dpo", "env=mujoco", "learner=pppo")
    with pytest.raises(UserError, match=r"there is no key 'algo\.learner' under the chosen algo"):
        container("algo=dapo", "learner=ppo")


def test_a_value_network_is_fitted_as_often_per_step_under_trpo_as_under_ppo():
    ppo, trpo = (
        container("algo=on_policy", "env=mujoco", f"learner={name}")["algo"]["learner"] for name in ("ppo", "trpo")
    )
    assert trpo["value_updates"] / trpo["steps"] == ppo["epochs"] * ppo["minibatches"] / ppo["steps"]
    assert container("algo=dpo", "env=mujoco", "learner=trpo")["algo"]["learner"]["value_updates"] == 10  # the author's


@pytest.mark.parametrize("algo", sorted(COMPUTED))
def test_an_algorithm_that_computes_composes_with_finite_mdps_alone(algo):
    run = container(f"algo={algo}", "env=exact")
    assert (run["algo"]["name"], run["env"]["suite"]) == (algo, "tabular")
    assert run == container(f"algo={algo}", "env=tabular", "hparams=default_exact")
    for wrong in ("env=classic", "env=atari", "env=tabular"):
        with pytest.raises(UserError, match="need env=exact, or env=tabular hparams=default_exact"):
            container(f"algo={algo}", *wrong.split())
    for suite in ("atari", "classic"):
        with pytest.raises(UserError, match=f"env.suite is '{suite}'; allowed: tabular with algo={algo}"):
            container(f"algo={algo}", f"env={suite}", "hparams=default_exact")


def test_a_key_that_another_algorithm_has_is_refused_without_advice_on_environments():
    for override in ("algo=dapo env=classic algo.gammas=[0.5]", "algo=proposition1 env=exact algo.gamma=0.5"):
        with pytest.raises(UserError, match=r"there is no key 'algo\.gammas?' under the chosen algo and env$"):
            container(*override.split())


@pytest.mark.parametrize(
    "override", [use.format(name) for group, use in USES.items() for name in presets(group) if name not in IMPLIED]
)
def test_every_preset_composes(override):
    name = override.removeprefix("hparams=")
    needed = {"default_exact": "algo=proposition1 env=exact", "default_mujoco": "algo=dpo env=mujoco"}
    needed |= {"default_dmc": "algo=dpo env=dmc"}
    for algo in ("dpo", "on_policy"):
        if name.startswith(algo):
            needed[name] = f"algo={algo} env={'classic' if name.endswith('discrete') else 'mujoco'}"
    container(*override.split(), *needed.get(name, "").split())


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_an_algorithm_brings_what_it_needs_of_an_environments_preset(env):
    for algo in ("impala", "a2c"):
        run = container(f"algo={algo}", f"env={env}")
        assert run == container(f"algo={algo}", f"env={env}", f"hparams=default_{env}")
        assert (run["algo"]["sampling"], run["algo"]["reuse"]) == ("once", 1.0)
        assert container(f"algo={algo}", f"env={env}", "algo.clip=0.3")["algo"]["clip"] == 0.3
    assert container(f"env={env}")["algo"]["reuse"] == 7.0


@pytest.mark.parametrize("scale", presets("scale"))
@pytest.mark.parametrize("executor", presets("executor"))
def test_every_scale_and_executor_composes(scale, executor):
    suite = compose.to_suite_config(compose.compose([f"scale={scale}", f"executor={executor}"], "suite"))
    assert (suite.scale.name, suite.executor.name) == (scale, executor)


@pytest.mark.parametrize("path", sorted(p for g in USES for p in (CONF / g).glob("*.yaml")), ids=lambda p: p.name)
def test_a_preset_is_called_what_its_file_is_called(path):
    data = yaml.safe_load(path.read_text())
    assert data.get("name", data.get("suite", path.stem)) == path.stem


# --- who wins -----------------------------------------------------------------------------------------------------


def test_hparams_win_over_the_algorithm_and_the_command_line_over_both():
    assert container("env=atari")["algo"]["value_coef"] == 0.5  # conf/algo/dapo.yaml
    assert container("env=classic")["algo"]["value_coef"] == 0.01  # conf/hparams/default_classic.yaml
    assert container("env=classic", "algo.value_coef=0.25")["algo"]["value_coef"] == 0.25
    assert container("algo.value_coef=0.25", "env=classic")["algo"]["value_coef"] == 0.25  # in any order


def test_hparams_win_over_the_root_too(tmp_path):
    (tmp_path / "hparams").mkdir()
    (tmp_path / "hparams/mine.yaml").write_text("# @package _global_\ndefaults: [default_classic]\nsteps: 4096\n")
    mine = ["env=classic", "hparams=mine", f"hydra.searchpath=[{tmp_path.as_uri()}]"]
    assert container(*mine)["steps"] == 4096
    assert container("env=classic")["steps"] != 4096
    assert container(*mine, "steps=8192")["steps"] == 8192


def test_hparams_give_the_environment_its_number_of_copies():
    with pytest.raises(UserError, match=r"env\.num_envs"):  # nothing else gives it: the preset did
        container("env=atari", "env.num_envs=???")
    assert container("env=atari")["env"]["num_envs"] == 16
    assert container("env=atari", "hparams=dapo_cpu")["env"]["num_envs"] == 4
    assert container("env=atari", "hparams=dapo_cpu", "env.num_envs=2")["env"]["num_envs"] == 2


def test_the_baseline_differs_from_dapo_in_the_weight_of_the_divergence_alone():
    dapo, ppo = container("algo=dapo")["algo"], container("algo=ppo")["algo"]
    assert {key for key in dapo if dapo[key] != ppo[key]} == {"name", "inv_eta"}


def test_frames_are_stacked_only_without_an_lstm():
    assert container("env=atari", "algo.recurrent=true")["env"]["frame_stack"] == 1
    assert container("env=atari", "algo.recurrent=false")["env"]["frame_stack"] == 4


# --- hash -----------------------------------------------------------------------------------------------------


def leaves(tree: dict, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    return [
        leaf
        for key, value in tree.items()
        for leaf in (leaves(value, (*path, key)) if isinstance(value, dict) else [(*path, key)])
    ]


def changed(tree: dict, path: tuple[str, ...]) -> dict:
    result = copy.deepcopy(tree)
    inner = result
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = "something else"
    return result


EXAMPLE = container("env=atari", "logger=none")


def reversed_keys(tree: dict) -> dict:
    return {key: reversed_keys(value) if isinstance(value, dict) else value for key, value in reversed(tree.items())}


def test_the_hash_does_not_see_the_order_of_keys():
    other = reversed_keys(EXAMPLE)
    assert list(other) != list(EXAMPLE)
    assert compose.configuration_hash(other) == compose.configuration_hash(EXAMPLE)


@pytest.mark.parametrize("path", [p for p in leaves(EXAMPLE) if p[0] not in LEAVES_OUT], ids=".".join)
def test_the_hash_sees_every_scientific_key(path):
    assert compose.configuration_hash(changed(EXAMPLE, path)) != compose.configuration_hash(EXAMPLE)


@pytest.mark.parametrize("path", [p for p in leaves(EXAMPLE) if p[0] in LEAVES_OUT], ids=".".join)
def test_the_hash_does_not_see_where_a_run_lives_or_is_shown(path):
    assert compose.configuration_hash(changed(EXAMPLE, path)) == compose.configuration_hash(EXAMPLE)


def test_logger_and_paths_are_all_that_the_hash_leaves_out():
    assert {"checkpoint_minutes", "logger", "run_dir", "store"} == LEAVES_OUT


def test_the_hash_survives_the_configuration_file():
    assert compose.configuration_hash(yaml.safe_load(yaml.safe_dump(EXAMPLE))) == compose.configuration_hash(EXAMPLE)


def test_equal_values_written_differently_are_one_run():
    plain, same, other = (
        compose.configuration_hash(container("env=classic", steps, clip))
        for steps, clip in (
            ("steps=200000", "algo.clip=0.2"),
            ("steps=200_000", "algo.clip=2e-1"),
            ("steps=200_000", "algo.clip=3e-1"),
        )
    )
    assert plain == same != other


def test_a_run_is_named_after_what_it_is():
    name = run_name(container("env=classic", "seed=3"))
    assert re.fullmatch(r"dapo-CartPole_v1-s3-[0-9a-f]{12}", name)


# --- sweeps and quoting -------------------------------------------------------------------------------------------


def test_a_sweep_is_every_combination_with_the_last_key_changing_fastest():
    jobs = compose.split_sweep(["env=classic", "algo=dapo,ppo", "seed=range(0,2)"])
    assert jobs == [["env=classic", f"algo={algo}", f"seed={seed}"] for algo in ("dapo", "ppo") for seed in (0, 1)]


def test_a_sweep_over_all_presets_of_a_group_is_expanded():
    jobs = compose.split_sweep(["logger=glob(*,exclude=*_schema)"])
    assert jobs == [["logger=none"], ["logger=wandb"]]


def test_keys_of_hydra_are_no_part_of_a_job():
    assert compose.split_sweep(["hydra.sweep.dir=x", "seed=1,2"]) == [["seed=1"], ["seed=2"]]


def test_a_sweep_that_cannot_be_read_is_refused():
    with pytest.raises(UserError, match="cannot read"):
        compose.split_sweep(["seed=range(0,3"])
    with pytest.raises(UserError, match="INTERVAL"):
        compose.split_sweep(["seed=interval(0,3)"])


def read_back(value: str) -> object:
    return OverridesParser.create().parse_overrides([f"store={value}"])[0].value()


@given(st.text("ab1 \\'\",=[]{}:$./", min_size=1, max_size=8).filter(lambda text: "${" not in text))
@settings(max_examples=150, deadline=None)
def test_a_quoted_path_is_read_back_as_it_was(path):
    assert read_back(compose.quoted(path)) == path


def test_a_path_that_is_not_quoted_is_read_as_something_else():
    assert read_back("a: b") == "a: b"
    assert read_back(".1") != ".1"
    assert read_back("[a]") != "[a]"
    assert read_back("null") != "null"
    assert read_back(compose.quoted("null")) == "null"


def test_a_plain_path_needs_no_quotes():
    assert compose.quoted("results/store-2") == "results/store-2"


# --- sentences ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algo=dappo", "available in algo: a2c, baseline_fit, dapo"),
        ("env=atar", "available in env: atari, classic, dmc, exact, mujoco, tabular"),
        ("hparams=foo", "available in hparams: "),
        ("algo=null", "the name of a preset"),
        ("seed=1,2", "several values need -m"),
        ("seed=range(0,3)", "--multirun"),
        ("seed", "cannot read 'seed' as key=value"),
        ("a b c", "cannot read 'a b c' as key=value"),
        ("seed=${nope}", "seed"),
        ("seed=[1,2]", "seed is '[1, 2]'"),
    ],
)
def test_what_hydra_refuses_is_said_in_one_sentence(override, says):
    with pytest.raises(UserError) as caught:
        container("env=classic", override)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_schemas_are_not_offered_as_presets():
    with pytest.raises(UserError) as caught:
        container("algo=foo")
    assert "_schema" not in str(caught.value)


# --- layers -------------------------------------------------------------------------------------------------------


def imports(source: str) -> set[str]:
    """Modules that a source file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def crossing(folder: str, *forbidden: str, allowed: tuple[str, ...] = ()) -> set[str]:
    def within(name: str, roots: tuple[str, ...]) -> bool:
        return any(name == root or name.startswith(f"{root}.") for root in roots)

    return {
        f"{path.name}: {name}"
        for path in (ROOT / folder).rglob("*.py")
        for name in imports(path.read_text())
        if within(name, forbidden) and not within(name, allowed)
    }


def test_imports_are_found_wherever_they_stand():
    source = "import a.b\ndef f():\n    from bench.algos import dapo\n"
    assert imports(source) == {"a.b", "bench.algos.dapo"}


def test_analysis_never_imports_algorithms_or_the_loop():
    exact = ("bench.envs.mdp", "bench.envs.tabular")  # what finite MDPs are worth
    assert crossing("analysis", "bench.algos", "bench.run", "bench.loop", "bench.envs", allowed=exact) == set()
    assert crossing("bench", "bench.algos") != set()  # the check sees such an import where there is one


def test_operators_import_nothing_of_bench_but_operators():
    assert crossing("bench/ops", "bench", "omegaconf", "hydra", allowed=("bench.ops",)) == set()
    assert crossing("bench/algos", "bench", allowed=("bench.ops",)) != set()


def test_environments_know_no_algorithm_and_nothing_imports_analysis():
    assert crossing("bench/envs", "bench.algos", "bench.run", "bench.record") == set()
    # A plan asks the referee what its seeds can decide, seeds=auto what they have decided.
    asking = {"adaptive.py", "plan_text.py", "planning.py", "scored.py"}
    assert {found.split(":")[0] for found in crossing("bench", "analysis")} == asking


def test_conf_holds_only_yaml():
    assert {path.suffix for path in CONF.rglob("*") if path.is_file()} == {".yaml"}
