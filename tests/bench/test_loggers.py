import math
import os
import pwd
import re
import sys
import time
import types
from pathlib import Path

import pytest
import torch
from command_line import wait_until

from bench import loggers
from bench import wandb_mirror as limits
from bench.compose import compose, to_container, to_run_config
from bench.config import LoggerConfig
from bench.episodes import Episode
from bench.record import read_status
from bench.run import run

WANDB = LoggerConfig(name="wandb", mode="offline", project="p", entity=None)
ONLINE = LoggerConfig(name="wandb", mode="online", project="q", entity="e")
GAME = Episode(16, 12.5, 8, 3, 0, 2)
TINY = ["env=classic", "steps=512", "algo.updates_per_version=7", "algo.burn_in=128"]


class Recorder:
    """A stand-in for W&B that notes every call, and fails from the call of the given name on."""

    def __init__(self, failing: str | None = None, starting_step: int = 0):
        self.calls: list[tuple[str, dict]] = []
        self.failing = failing
        self.starting_step = starting_step
        self.environment: dict[str, str] = {}

    def _call(self, method, positional, named):
        self.calls.append((method, {**dict(enumerate(positional)), **named}))
        if method == "init":
            self.environment = dict(os.environ)
            (Path(named["dir"]) / "wandb").mkdir(exist_ok=True)
        if self.failing in (method, "everything"):
            raise RuntimeError(f"planted\nin {method}")
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *positional, **named: self._call(name, positional, named)

    def names(self):
        return [name for name, _ in self.calls]

    def given(self, method):
        """The arguments of every call of a method."""
        return [arguments for name, arguments in self.calls if name == method]


@pytest.fixture
def wandb(monkeypatch):
    def install(failing=None, starting_step=0):
        recorder = Recorder(failing, starting_step)
        module = types.ModuleType("wandb")
        module.init, module.teardown = recorder.init, recorder.teardown
        module.Settings = dict
        monkeypatch.setitem(sys.modules, "wandb", module)
        return recorder

    return install


def container(*overrides):
    return to_container(compose([*TINY, *overrides]))


def mirrored(tmp_path, config=WANDB, position=None, **kept):
    """Mirror two rows. Returns the position after them."""
    with loggers.mirror(config, tmp_path, kept or container(), position) as mirror:
        mirror.metrics({"step": 16, "kl": 0.5})
        mirror.episode(GAME)
        return mirror.position()


# --- Weights & Biases ---------------------------------------------------------------------------------------------


def test_rows_reach_the_mirror_under_their_names_one_record_each(tmp_path, wandb):
    recorder = wandb()
    mirrored(tmp_path)
    assert recorder.names() == ["init", "define_metric", "log", "log", "status", "finish", "teardown"]
    game = {"return": 12.5, "length": 8, "env": 3, "truncated": 0, "lives": 2}
    assert recorder.given("log") == [
        {0: {"step": 16, "kl": 0.5}, "step": 0, "commit": True},
        {0: {"step": 16, **{f"episode/{name}": x for name, x in game.items()}}, "step": 1, "commit": True},
    ]
    assert recorder.given("finish") == [{"exit_code": 0}]


def test_the_mirror_lives_in_the_run_directory_and_is_offline_unless_asked(tmp_path, wandb):
    recorder = wandb()
    mirrored(tmp_path)
    mirrored(tmp_path, ONLINE)
    first, second = recorder.given("init")
    assert (first["dir"], first["mode"], first["project"]) == (str(tmp_path), "offline", "p")
    assert (second["mode"], second["project"], second["entity"]) == ("online", "q", "e")
    assert compose(["env=classic"]).logger == {
        "name": "wandb",
        "mode": "offline",
        "entity": None,
        "project": "policy-reproduction",
    }


def test_seeds_share_a_group_and_settings_do_not(tmp_path, wandb):
    recorder = wandb()
    for overrides in (["seed=0"], ["seed=1"], ["seed=1", "algo.clip=0.1"]):
        mirrored(tmp_path, **container(*overrides))
    runs = recorder.given("init")
    assert runs[0]["group"] == runs[1]["group"] != runs[2]["group"]
    assert runs[0]["name"] != runs[1]["name"]
    assert runs[1]["config"]["seed"] == 1


def test_no_wait_of_wandb_is_longer_than_what_a_suite_gives_a_run_to_end(tmp_path, wandb):
    recorder = wandb()
    mirrored(tmp_path)
    given = recorder.given("init")[0]["settings"]
    assert 0 < given["init_timeout"] < limits.INIT_SECONDS + limits.GRACE_SECONDS
    assert 0 < given["finish_timeout"] < limits.FINISH_SECONDS + limits.GRACE_SECONDS
    longest = limits.ANSWER_SECONDS + limits.FINISH_SECONDS + limits.GRACE_SECONDS
    assert longest < 60
    assert limits.INIT_SECONDS + limits.GRACE_SECONDS + limits.ANSWER_SECONDS + limits.BROKEN_SECONDS < 60


@pytest.mark.parametrize("failing", ["init", "define_metric", "log", "status", "finish", "teardown", "everything"])
def test_a_mirror_that_breaks_says_so_once_and_is_left_alone(tmp_path, wandb, capsys, failing):
    recorder = wandb(failing)
    mirrored(tmp_path)
    used = [name for name in recorder.names() if name != "teardown"]
    assert used[-1] == {"everything": "init", "teardown": "finish"}.get(failing, failing)
    assert used.count(failing) <= 1  # not called again once it has failed
    assert recorder.names()[-1] == "teardown"  # what there is of a service is ended
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("warning: Weights & Biases failed (RuntimeError: planted)")


def test_a_full_disk_is_told(tmp_path, wandb, capsys, monkeypatch):
    monkeypatch.setattr(limits, "ROOM", 2**80)
    wandb()
    mirrored(tmp_path)
    assert "no space left" in capsys.readouterr().err


def test_a_second_interrupt_while_wandb_ends_is_heard(tmp_path, wandb):
    recorder = wandb()

    def finish(**_):
        raise KeyboardInterrupt

    recorder.finish = finish
    with pytest.raises(KeyboardInterrupt):
        mirrored(tmp_path)
    assert recorder.names()[-1] == "teardown"


def test_a_service_that_ends_badly_does_not_end_the_run(tmp_path, wandb, capsys):
    recorder = wandb()
    sys.modules["wandb"].teardown = lambda: sys.exit(137)
    mirrored(tmp_path)
    assert recorder.names()[-1] == "finish"
    assert capsys.readouterr().err == ""


def test_without_wandb_installed_the_run_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)  # import wandb raises ImportError
    mirrored(tmp_path)
    assert "Weights & Biases failed (ModuleNotFoundError" in capsys.readouterr().err


def test_a_broken_run_is_told_to_the_mirror_and_stays_broken(tmp_path, wandb):
    recorder = wandb()
    with pytest.raises(ZeroDivisionError), loggers.mirror(WANDB, tmp_path, container()):
        raise ZeroDivisionError
    assert recorder.given("finish") == [{"exit_code": 1}]


def test_no_logger_never_imports_wandb(tmp_path, wandb):
    recorder = wandb()
    assert mirrored(tmp_path, LoggerConfig(name="none", mode="offline", project="p", entity=None)) == {}
    assert recorder.calls == []


def trained(store, logger):
    composed = compose([*TINY, f"logger={logger}", f"store={store}"])
    path, _ = run(to_run_config(composed), to_container(composed))
    assert read_status(path)["state"] == "done"
    return read_status(path)["params_sha256"], (path / "episodes.csv").read_text()


def test_a_run_ends_the_same_with_a_wandb_that_raises_on_every_call_as_without(tmp_path, wandb):
    expected = trained(tmp_path / "none", "none")
    for failing in ("everything", "log", "finish"):
        recorder = wandb(failing)
        assert trained(tmp_path / failing, "wandb") == expected
        assert recorder.names()[-2:] == ["init" if failing == "everything" else failing, "teardown"]


# --- its environment ----------------------------------------------------------------------------------------------


def test_wandb_keeps_its_log_in_the_run_directory_and_reports_nothing_about_itself(tmp_path, wandb, monkeypatch):
    for name in ("WANDB_CACHE_DIR", "WANDB_ERROR_REPORTING"):
        monkeypatch.delenv(name, raising=False)
    before = dict(os.environ)
    recorder = wandb()
    mirrored(tmp_path)
    assert recorder.environment["WANDB_CACHE_DIR"] == str(tmp_path / "wandb/cache")
    assert recorder.environment["WANDB_ERROR_REPORTING"] == "false"
    assert recorder.environment.get("HOME") == before.get("HOME")  # where the user's login is
    assert dict(os.environ) == before


def test_what_the_user_has_set_is_left_as_it_is(tmp_path, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_CACHE_DIR", "/theirs")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "true")
    recorder = wandb()
    mirrored(tmp_path)
    assert recorder.environment["WANDB_CACHE_DIR"] == os.environ["WANDB_CACHE_DIR"] == "/theirs"
    assert recorder.environment["WANDB_ERROR_REPORTING"] == os.environ["WANDB_ERROR_REPORTING"] == "true"


def test_a_user_without_a_home_is_lent_one(tmp_path, wandb, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    recorder = wandb()
    mirrored(tmp_path)
    assert recorder.environment["HOME"] == str(tmp_path)
    assert "HOME" not in os.environ


# --- the position -------------------------------------------------------------------------------------------------


def kept_tables(run_dir):
    """Three games and two rows of metrics, as the run has made them."""
    (run_dir / "metrics.csv").write_text("step,wall_s,kl,ratio\n8,0.5,0.25,\n16,1.5,nan,1.0\n")
    (run_dir / "episodes.csv").write_text(
        "step,return,length,env,truncated,lives\n3,1.0,3,0,0,0\n8,0.1,5,1,0,0\n16,-2.0,13,0,1,0\n"
    )


def test_every_run_has_an_id_of_its_own(tmp_path, wandb):
    recorder = wandb()
    first, second = (mirrored(tmp_path / name) for name in ("a", "b") if not (tmp_path / name).mkdir())
    assert first["run_id"] != second["run_id"]
    assert [call["id"] for call in recorder.given("init")] == [first["run_id"], second["run_id"]]


def test_the_position_is_plain_state(tmp_path, wandb):
    wandb()
    position = mirrored(tmp_path)
    torch.save(position, tmp_path / "position.pt")
    assert torch.load(tmp_path / "position.pt", weights_only=True) == position


def test_a_run_that_goes_on_mirrors_again_what_wandb_may_not_have_from_the_tables(tmp_path, wandb):
    kept_tables(tmp_path)
    recorder = wandb()
    mirrored(tmp_path, position={"run_id": "abc", "rows": 2})
    init, logged = recorder.given("init")[0], recorder.given("log")
    assert (init["id"], init["resume"]) == ("abc", "allow")
    assert [call["step"] for call in logged] == [2, 3, 4, 5, 6]
    assert logged[0][0] == {"step": 8, "wall_s": 0.5, "kl": 0.25}
    assert logged[1][0]["episode/return"] == -2.0
    assert math.isnan(logged[2][0]["kl"])
    assert logged[3][0] == {"step": 16, "kl": 0.5}


def test_online_the_server_says_which_rows_it_has(tmp_path, wandb):
    kept_tables(tmp_path)
    for has in (0, 4, 6):  # an attempt that was offline; the same; one that went beyond its checkpoint
        recorder = wandb(starting_step=has)
        mirrored(tmp_path, ONLINE, position={"run_id": "abc", "rows": 2})
        assert [call["step"] for call in recorder.given("log")] == list(range(has, 7))


def test_a_table_that_cannot_be_read_ends_the_mirror_alone(tmp_path, wandb, capsys):
    kept_tables(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,kl\n8,0.25\n16,O.5\n")
    recorder = wandb()
    assert mirrored(tmp_path, position={"run_id": "abc", "rows": 2}) == {"run_id": "abc", "rows": 2}
    assert "finish" not in recorder.names()
    assert "could not convert string to float: 'O.5'" in capsys.readouterr().err


def test_an_attempt_without_a_checkpoint_keeps_the_id_of_the_one_before(tmp_path, wandb):
    for name in ("run-20250102_000000-older", "offline-run-20260102_000000-newer", "latest-run"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    recorder = wandb()
    mirrored(tmp_path)
    assert recorder.given("init")[0]["id"] == "newer"


def test_only_rows_of_a_while_ago_count_as_written(tmp_path, wandb, monkeypatch):
    wandb()
    assert mirrored(tmp_path)["rows"] == 0
    monkeypatch.setattr(limits, "SETTLE_SECONDS", 0.0)
    assert mirrored(tmp_path)["rows"] == 1  # all but the last


def test_nothing_counts_as_written_from_where_the_mirror_broke(tmp_path, wandb, monkeypatch):
    monkeypatch.setattr(limits, "SETTLE_SECONDS", 0.0)
    for failing in ("init", "log", "status"):
        wandb(failing)
        assert mirrored(tmp_path)["rows"] == 0


# --- the watchdog -------------------------------------------------------------------------------------------------


def test_the_service_is_killed_when_a_call_takes_too_long_and_only_then(monkeypatch):
    killed = []
    monkeypatch.setattr(limits, "_kill_service", lambda: not killed.append(1))
    monkeypatch.setattr(limits, "TICK_SECONDS", 0.01)
    watchdog = limits.Watchdog()
    for _ in range(20):  # together longer than the limit
        with watchdog.limit(10.0):
            time.sleep(0.01)
    time.sleep(0.1)
    assert not killed
    assert not watchdog.has_killed
    with watchdog.limit(0.05):
        wait_until(lambda: watchdog.has_killed)
    watchdog.end()


# --- the display --------------------------------------------------------------------------------------------------


def test_without_a_terminal_a_line_now_and_then_shows_rate_return_and_time_left(capsys, monkeypatch):
    monkeypatch.setattr(loggers, "LINE_SECONDS", 0.0)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with loggers.Display("a run", 1000) as display:
        display.show(100, [])
        display.show(250, [GAME, GAME._replace(score=7.5)])
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"a run: step 100 of 1,000, [\d,]+ steps/s, no game finished yet, [\d,]+ s left", first)
    assert re.fullmatch(r"a run: step 250 of 1,000, [\d,]+ steps/s, return 10\.0, [\d,]+ s left", second)


def test_the_line_is_not_written_at_every_step(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    with loggers.Display("a run", 1000) as display:
        for step in range(8, 1000, 8):
            display.show(step, [])
    assert capsys.readouterr().err == ""


def test_the_return_shown_is_of_the_last_games(monkeypatch):
    display = loggers.Display("a run", 1000)
    display.show(8, [GAME._replace(score=1000.0)])
    display.show(16, [GAME._replace(score=1.0)] * loggers.RECENT_GAMES)
    assert set(display.returns) == {1.0}
