import re
import sys
import types

import pytest

from bench import loggers
from bench.compose import compose, to_container, to_run_config
from bench.config import LoggerConfig
from bench.episodes import Episode
from bench.record import read_status
from bench.run import run

WANDB = LoggerConfig(name="wandb", mode="offline", project="p", entity=None)
GAME = Episode(16, 12.5, 8, 3, 0)
TINY = ["env=classic", "steps=512", "algo.updates_per_version=7", "algo.burn_in=128"]


class Recorder:
    """A stand-in for W&B that notes every call, and fails from the call of the given name on."""

    def __init__(self, failing: str | None = None):
        self.calls: list[tuple[str, dict]] = []
        self.failing = failing

    def _call(self, method, positional, named):
        self.calls.append((method, {**dict(enumerate(positional)), **named}))
        if self.failing in (method, "everything"):
            raise RuntimeError(f"planted\nin {method}")
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *positional, **named: self._call(name, positional, named)

    def names(self):
        return [name for name, _ in self.calls]


@pytest.fixture
def wandb(monkeypatch):
    def install(failing=None):
        recorder = Recorder(failing)
        module = types.ModuleType("wandb")
        module.init = recorder.init
        module.Settings = dict
        monkeypatch.setitem(sys.modules, "wandb", module)
        return recorder

    return install


def container(*overrides):
    return to_container(compose([*TINY, *overrides]))


def mirrored(tmp_path, config=WANDB, **kept):
    with loggers.mirror(config, tmp_path, kept or container()) as mirror:
        mirror.metrics({"step": 16, "kl": 0.5})
        mirror.episode(GAME)


# --- Weights & Biases ---------------------------------------------------------------------------------------------


def test_rows_reach_the_mirror_under_their_names(tmp_path, wandb):
    recorder = wandb()
    mirrored(tmp_path)
    assert recorder.names() == ["init", "define_metric", "log", "log", "finish"]
    assert recorder.calls[2][1] == {0: {"step": 16, "kl": 0.5}}
    assert recorder.calls[3][1] == {
        0: {"step": 16, "episode/return": 12.5, "episode/length": 8, "episode/env": 3, "episode/truncated": 0}
    }
    assert recorder.calls[4][1] == {"exit_code": 0}


def test_the_mirror_lives_in_the_run_directory_and_is_offline_unless_asked(tmp_path, wandb):
    recorder = wandb()
    mirrored(tmp_path)
    mirrored(tmp_path, LoggerConfig(name="wandb", mode="online", project="q", entity="e"))
    first, second = (call for name, call in recorder.calls if name == "init")
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
    runs = [call for name, call in recorder.calls if name == "init"]
    assert runs[0]["group"] == runs[1]["group"] != runs[2]["group"]
    assert runs[0]["name"] != runs[1]["name"]
    assert runs[1]["config"]["seed"] == 1


def test_a_dead_network_at_the_end_is_not_waited_for_for_ever(tmp_path, wandb):
    recorder = wandb()
    mirrored(tmp_path)
    given = recorder.calls[0][1]["settings"]
    assert 0 < given["init_timeout"] <= 60
    assert 0 < given["finish_timeout"] <= 60


@pytest.mark.parametrize("failing", ["init", "define_metric", "log", "finish", "everything"])
def test_a_mirror_that_breaks_says_so_once_and_is_left_alone(tmp_path, wandb, capsys, failing):
    recorder = wandb(failing)
    mirrored(tmp_path)
    assert recorder.calls
    assert recorder.names().count(failing) == (failing != "everything")  # not called again once it has failed
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("warning: Weights & Biases failed (RuntimeError: planted)")


def test_without_wandb_installed_the_run_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)  # import wandb raises ImportError
    mirrored(tmp_path)
    assert "Weights & Biases failed (ModuleNotFoundError" in capsys.readouterr().err


def test_a_broken_run_is_told_to_the_mirror_and_stays_broken(tmp_path, wandb):
    recorder = wandb()
    with pytest.raises(ZeroDivisionError), loggers.mirror(WANDB, tmp_path, container()):
        raise ZeroDivisionError
    assert recorder.calls[-1] == ("finish", {"exit_code": 1})


def test_no_logger_never_imports_wandb(tmp_path, wandb):
    recorder = wandb()
    mirrored(tmp_path, LoggerConfig(name="none", mode="offline", project="p", entity=None))
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
        assert recorder.names()[-1] == ("init" if failing == "everything" else failing)


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
