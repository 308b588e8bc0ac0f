"""Real W&B under faults: the run ends well and soon, its files are those of a run without W&B, and what W&B has of it
is what they hold."""

import csv
import os
import socket
import subprocess
import threading

import pytest
from command_line import status, wait_until
from wandb_cases import (
    full_disk,
    interrupted,
    killed,
    make,
    nothing,
    service_killed_at_the_end,
    service_killed_in_the_middle,
    service_lost_then_interrupted,
    service_stopped_at_the_end,
    service_stopped_in_the_middle,
)
from wandb_files import differences, folders, history, table, united
from wandb_server import serving

from bench import loggers
from bench.compose import compose, to_container
from bench.config import LoggerConfig
from bench.episodes import Episode
from bench.metrics import EPISODES, METRICS

pytestmark = pytest.mark.integration

KEY = "0123456789" * 4
OFFLINE, ONLINE = ["logger=wandb"], ["logger=wandb", "logger.mode=online"]
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("wandb")


@pytest.fixture(scope="module")
def plain(place):
    """A run without W&B."""
    ended = make(place / "plain", nothing, "logger=none")
    assert (ended.exit_code, ended.said) == (0, f"{place / 'plain'}\n")
    return local(ended.run_dir)


@pytest.fixture(scope="module")
def mirrored(place):
    """A run that nothing has happened to."""
    return make(place / "mirrored", nothing, *OFFLINE)


def local(run_dir):
    """Everything that a run leaves, without clocks and machine."""
    metrics = [{**row, "wall_s": None} for row in table(run_dir / "metrics.csv")]
    names = {path.name for path in run_dir.iterdir() if path.name != "wandb"}
    kept = {name: status(run_dir)[name] for name in ("state", "step", "params_sha256")}
    return kept, (run_dir / "episodes.csv").read_bytes(), metrics, names


def warnings(ended):
    return [line for line in ended.said.splitlines() if line.startswith("warning: ")]


def require_well(ended, plain):
    """The run has ended as it does without W&B, and has left nothing elsewhere."""
    assert ended.exit_code == 0, ended.said
    assert local(ended.run_dir) == plain
    assert (ended.services, ended.home) == ([], [])
    assert "Traceback" not in ended.said
    assert "Logging error" not in ended.said


# --- what breaks ----------------------------------------------------------------------------------------------------


def test_offline_nothing_is_said_and_nothing_is_written_outside_the_run_directory(plain, mirrored):
    require_well(mirrored, plain)
    assert mirrored.said == f"{mirrored.run_dir}\n"


@pytest.mark.parametrize(
    "fault",
    [
        service_killed_in_the_middle,
        service_stopped_in_the_middle,
        service_killed_at_the_end,
        service_stopped_at_the_end,
    ],
)
def test_the_service_is_lost(place, plain, fault):
    ended = make(place / fault.__name__, fault, *OFFLINE, ANSWER_SECONDS=4.0)
    require_well(ended, plain)
    assert len(warnings(ended)) == 1
    assert ("no answer for 4 s" in ended.said) == ("stopped" in fault.__name__)


def test_online_without_a_key_nobody_is_asked_for_one(place, plain):
    ended = make(place / "no key", nothing, *ONLINE)
    require_well(ended, plain)
    assert len(warnings(ended)) == 1
    assert "No API key configured" in ended.said


def test_online_without_a_network(place, plain):
    ended = make(place / "no network", nothing, *ONLINE, WANDB_API_KEY=KEY, WANDB_BASE_URL=NOBODY, INIT_SECONDS=2.0)
    require_well(ended, plain)
    assert len(warnings(ended)) == 1


def test_a_server_that_never_answers(place, plain):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ended = make(place / "silent", nothing, *ONLINE, WANDB_API_KEY=KEY, WANDB_BASE_URL=url, INIT_SECONDS=2.0)
    require_well(ended, plain)
    assert len(warnings(ended)) == 1


def test_a_network_that_dies_during_the_run_loses_nothing_of_the_file(place, plain):
    with serving() as server:

        def dies():
            wait_until(lambda: server.run_ids)
            server.hang.set()

        threading.Thread(target=dies, daemon=True).start()
        ended = make(
            place / "dies", nothing, *ONLINE, WANDB_API_KEY=KEY, WANDB_BASE_URL=server.url(), FINISH_SECONDS=2.0
        )
    require_well(ended, plain)
    assert differences(ended.run_dir, united(ended.run_dir)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_under_the_folder_of_wandb(place, plain):
    run_dir = place / "full"
    try:
        ended = make(run_dir, full_disk, *OFFLINE)
        assert "planted: No space left on device" in ended.said
        require_well(ended, plain)
        assert len(warnings(ended)) == 1
        assert "No space left" in warnings(ended)[0] or "no space left" in warnings(ended)[0]
    finally:
        subprocess.run(["umount", run_dir / "wandb"], check=False)


@pytest.mark.parametrize("home", [None, "/proc/nowhere"])
def test_without_a_home_or_with_one_that_cannot_be_written_the_mirror_is_whole(place, plain, home):
    ended = make(place / f"home {home is None}", nothing, *OFFLINE, HOME=home)
    require_well(ended, plain)
    assert differences(ended.run_dir, united(ended.run_dir)) == []


def test_a_run_directory_of_odd_characters(place, plain):
    ended = make(place / "a 'b' \"q\" $x ü[1]% #*?", nothing, *OFFLINE)
    require_well(ended, plain)
    assert differences(ended.run_dir, united(ended.run_dir)) == []


def test_the_service_of_another_program_is_left_alone(place, plain):
    ended = make(place / "other", nothing, *OFFLINE, WANDB_SERVICE="3-1-unix-/nowhere/socket")
    require_well(ended, plain)
    assert differences(ended.run_dir, united(ended.run_dir)) == []


# --- what is mirrored -----------------------------------------------------------------------------------------------


def test_mirrored_values_are_the_local_ones_to_the_last_digit(mirrored):
    run_dir = mirrored.run_dir
    (path,) = folders(run_dir)
    assert len(history(path)) == len(table(run_dir / "episodes.csv")) + len(table(run_dir / "metrics.csv")) > 20
    assert differences(run_dir, history(path)) == []


def test_a_dropped_an_altered_and_a_misplaced_row_are_found(mirrored):
    run_dir = mirrored.run_dir
    rows = history(folders(run_dir)[0])
    learnt = next(step for step, row in rows.items() if "kl" in row)
    value = rows[learnt]["kl"]
    assert differences(run_dir, {step: row for step, row in rows.items() if step != learnt})
    assert differences(run_dir, {step: row for step, row in rows.items() if step != len(rows) - 1})
    assert len(differences(run_dir, {**rows, learnt: {**rows[learnt], "kl": value * (1 + 2**-52)}})) == 1
    assert len(differences(run_dir, {**rows, learnt: {**rows[learnt], "extra": 0.0}})) == 1
    assert len(differences(run_dir, {**rows, 0: {**rows[0], "episode/lives": 1.0}})) == 1
    assert differences(run_dir, {**rows, 0: rows[1], 1: rows[0]})


def test_numbers_that_are_easily_lost_are_kept(tmp_path):
    hard = [float("nan"), float("inf"), float("-inf"), -0.0, 5e-324, 1.7976931348623157e308, 0.1 + 0.2, 2**53 - 1, 1e22]
    rows = [{"step": 8 * number, "kl": value} for number, value in enumerate(hard)]
    game = Episode(80, -0.1, 2**31, 7, 1, 3)
    write(tmp_path / "metrics.csv", METRICS, [])
    write(tmp_path / "episodes.csv", EPISODES, [])
    config = LoggerConfig(name="wandb", mode="offline", project="p", entity=None)
    with loggers.mirror(config, tmp_path, to_container(compose(["env=classic"]))) as mirror:
        for row in rows:
            mirror.metrics(row)
        mirror.episode(game)
    write(tmp_path / "metrics.csv", METRICS, rows)
    write(tmp_path / "episodes.csv", EPISODES, [dict(zip(EPISODES, game, strict=True))])
    assert len(united(tmp_path)) == len(hard) + 1
    assert differences(tmp_path, united(tmp_path)) == []


def write(path, columns, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# --- runs that go on ------------------------------------------------------------------------------------------------


def test_attempts_together_hold_every_row_of_the_tables_once_or_twice_the_same(place, plain):
    run_dir = place / "resumed"
    codes = [make(run_dir, fault, *OFFLINE).exit_code for fault in (interrupted, killed, nothing)]
    assert codes == [130, -9, 0]
    assert local(run_dir) == plain
    first, _, last = folders(run_dir)
    assert first.name == last.name  # one W&B run
    one, other = history(first), history(last)
    both = sorted(one.keys() & other.keys())
    assert both
    assert [one[step] for step in both] == [other[step] for step in both]
    assert differences(run_dir, united(run_dir)) == []


def test_rows_that_are_written_for_certain_are_not_mirrored_again(place, plain):
    run_dir = place / "settled"
    assert make(run_dir, interrupted, *OFFLINE, SETTLE_SECONDS=0.0).exit_code == 130
    assert make(run_dir, nothing, *OFFLINE).exit_code == 0
    first, last = map(history, folders(run_dir))
    assert 0 < min(last) <= len(first)
    assert differences(run_dir, united(run_dir)) == []


def test_what_a_lost_service_has_missed_the_next_attempt_makes_good(place, plain):
    run_dir = place / "missed"
    assert make(run_dir, service_lost_then_interrupted, *OFFLINE).exit_code == 130
    assert differences(run_dir, united(run_dir))
    assert make(run_dir, nothing, *OFFLINE).exit_code == 0
    assert local(run_dir) == plain
    assert differences(run_dir, united(run_dir)) == []


def test_an_attempt_that_left_no_checkpoint_is_gone_on_with_in_wandb(place, plain):
    run_dir = place / "unsaved"
    ended = make(run_dir, killed, *OFFLINE)
    assert (ended.exit_code, ended.services) == (-9, [])  # the service has gone with the run
    for path in run_dir.glob("resume-*.pt"):
        path.unlink()
    assert make(run_dir, nothing, *OFFLINE).exit_code == 0
    assert len({path.name for path in folders(run_dir)}) == 1
    assert differences(run_dir, united(run_dir)) == []


def test_online_a_run_that_goes_on_uploads_every_row_once_under_the_login_of_the_user(place, plain):
    run_dir = place / "online"
    home = place / "home of online"
    home.mkdir()
    with serving() as server:
        (home / ".netrc").write_text(f"machine 127.0.0.1:{server.server_port} login user password {KEY}\n")
        (home / ".netrc").chmod(0o600)
        for fault, code in ((interrupted, 130), (nothing, 0)):
            ended = make(run_dir, fault, *ONLINE, WANDB_BASE_URL=server.url())
            assert ended.exit_code == code
            assert (ended.services, ended.home, warnings(ended)) == ([], [], [])
            assert "WARNING" not in ended.said
        assert local(run_dir) == plain
        assert len(server.run_ids) == 1
        assert server.exit_codes == [1, 0]
        assert differences(run_dir, server.history()) == []
