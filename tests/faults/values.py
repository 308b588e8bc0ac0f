"""What mutations put into a configuration: values of the wrong type or size, odd text, presets, places, flags."""

import random
import string
from functools import cache
from pathlib import Path
from typing import Any

from bench.compose import CONF_DIR

NUMBERS = [
    *("0", "1", "-1", "2", "3", "0.5", "-0.5", "1.5", "0.0", "-0.0", "1.0", "2.0", "1e-3", "1e3", "1e6", "1_000"),
    *("1e30", "-1e30", "1e-30", "1e308", "5e-324", "nan", "-nan", "inf", "-inf", "2147483647", "2147483648"),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "1000000000000000000000000000000"),
    *("-9223372036854775808", "100000", "1000000000", "0x10", "1e400", "4294967296", "65536"),
]
WORDS = [
    *("abc", "null", "true", "false", "none", "None", "yes", "on", "''", '""', "", "???", "' '", "cuda", "cpu", "auto"),
    *("'a b'", "'a,b'", "a,b", "'it\\'s'", '"x"', "'a\nb'", "'a\tb'", "ünïcode✓", "a=b", "=", "$", "${", "}", "]"),
    *("${seed}", "${store}", "${algo.name}", "${nope}", "${.nope}", "${oc.env:HOME}", "${oc.env:NOPE}", "${now:%Y}"),
    *("${if:true,1,2}", "${if:1}", "${nope:1}", "${oc.select:nope}", "${oc.decode:'['}", "'${'", "\\${seed}"),
    *("range(3)", "range(0,3)", "choice(1,2)", "glob(*)", "interval(0,1)", "shuffle(1,2)", "sort(2,1)", "int(3.5)"),
    *("str(1)", "float(x)", "bool(2)", "tag(a,1)", "json_str({a:1})", "nope(1)", "extend_list(1)"),
    *(".", "..", "../x", "-", "--", "#", "%", "@", "a@b", "~", "!", "a:b", "'\\'", "\\", "'", '"', "a" * 300),
]
LISTS = ["[]", "[1,2]", "[0]", "[-1]", "[1.5]", "[a]", "[null]", "[[1]]", "[1e30]", "[nan]", "[0.5,x]", "[1,", "[64]"]
GROUPED = ["{}", "{a:1}", "{a:{b:1}}", "{1:2}", "{a:", "{name:dapo}"]
SCALARS = ["1", "0", "-1", "abc", "null", "true", "1e30", "nan", "''", "[]", "{}", "[1]", "0.5", "a,b", "${nope}", ""]

GROUPS = ("algo", "algo/released", "env", "env/protocol", "env/evaluation", "hparams", "learner", "logger")
PATHS = ["../x", "../algo/dapo", "../../conf/algo/dapo", "/etc/passwd", "for/a2c_classic", "./dapo", "dapo.yaml"]
PLACES = [
    *("file", "file/x", "folder", "folder/new", "loop", "broken", "new", "new/deep/er", "/proc/nope", "/dev/null"),
    *("/dev/null/x", "/sys/x", "''", "' '", ".", "./.", "./new/../other", "'a b/c'", "'a=b'", "'a,b'"),
    *("ünï", "'new\nline'", "x" * 300, "/".join(["deep"] * 60), "'~'", "~", "null", "[]", "'[x]'", "${seed}"),
    *("'%s'", "'#'", "'-rf'", "../beside"),
]
_FLAGS = """
-m --multirun --cfg --cfg=job -c=all --help -h --hydra-help --version --resolve --info --info=all --info=nope --run
-r --package=algo -p=x --config-name=suite -cn=x --config-path=/tmp -cp=conf --config-dir=. -cd=nope
--experimental-rerun=x --shell-completion -sc --nope -- - -x hydra.run.dir=new hydra.run.dir=file hydra.run.dir=''
hydra.sweep.dir=s hydra.job.chdir=true hydra.output_subdir=sub hydra.verbose=true hydra.verbose=nope
hydra.mode=MULTIRUN hydra.mode=nope hydra.nope=1 +hydra.nope=1 hydra=1 hydra={} ~hydra hydra/launcher=nope
hydra/launcher=basic hydra/sweeper=nope hydra/job_logging=default hydra/output=x hydra/hydra_logging=nope
hydra.searchpath=[nope] hydra.searchpath=nope hydra.job.name=x hydra/help=nope hydra.job.env_set.A=1
+hydra.callbacks.a._target_=nope hydra.launcher._target_=nope hydra.sweep.subdir=x
hydra.job.config.override_dirname.kv_sep=1 hydra.runtime.cwd=x hydra.sweeper.max_batch_size=x
hydra.sweeper.params={seed:1} hydra.sweeper.params={nope:'1,2'} hydra.job_logging.root.level=DEBUG
"""
_FLAG_NAMES = """
hydra -m --cfg --config-name --config-path --config-dir --shell-completion --info --experimental-rerun --package
--resolve --help --run --multirun --hydra-help
"""
FLAGS, FLAG_NAMES = _FLAGS.split(), _FLAG_NAMES.split()


@cache
def presets(group: str) -> list[str]:
    """Names of the presets of a group, its schemas among them."""
    found = sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
    return [*found, f"{group.rpartition('/')[2]}_schema"]


@cache
def every_name() -> frozenset[str]:
    """Every group, preset and key of conf/ as a sentence may name it."""
    words: set[str] = set()
    for path in CONF_DIR.rglob("*.yaml"):
        if "check" not in path.parts:
            words |= {path.stem, path.parent.name}
            words |= {line.partition(":")[0].strip() for line in path.read_text().splitlines() if ":" in line}
    return frozenset(word for word in words if word.replace("_", "").isalnum())


def of_any_type(found: Any, rng: random.Random) -> str:
    """Values of any type, those of the right one more often."""
    pools = [NUMBERS, WORDS, LISTS, GROUPED]
    own = NUMBERS if isinstance(found, int | float) or found is None else LISTS if isinstance(found, list) else WORDS
    return rng.choice(rng.choices([own, *pools], [10, 3, 5, 2, 1])[0])


def near(found: Any, rng: random.Random) -> str:
    """Another value of the same type, not far."""
    if isinstance(found, bool) or found is None:
        return rng.choice(["true", "false", "null", "0", "1", "0.5", "7"])
    if isinstance(found, int):
        return str(rng.choice([found + 1, found - 1, found * 2, found // 2, found * 3, found * 10, found + 7, -found]))
    if isinstance(found, float):
        return str(rng.choice([found * 2, found / 2, 1 - found, found * 1e3, found * 1e-3, 0.0, 1.0, -found, 0.999999]))
    assert isinstance(found, list)
    inner = near(rng.choice(found), rng) if found and isinstance(found[0], int | float) else "1"
    return rng.choice(["[]", f"[{inner}]", f"[{inner},{inner}]", f"[{','.join([inner] * 5)}]"])


def misspelt(name: str, rng: random.Random) -> str:
    """The name with a letter changed, doubled or left out."""
    at = rng.randrange(len(name))
    middle = rng.choice(["", name[at] * 2, rng.choice(string.ascii_lowercase), "-", "_"])
    return name[:at] + middle + name[at + 1 :] or "x"


def prepare(cwd: Path) -> None:
    """What the places name: a file, somebody's folder, a link to itself, a run directory that cannot be read."""
    cwd.mkdir(parents=True)
    (cwd / "file").write_text("mine")
    (cwd / "folder").mkdir()
    (cwd / "folder/notes.txt").write_text("mine")
    (cwd / "broken").mkdir()
    (cwd / "broken/config.yaml").write_text("{")
    (cwd / "loop").symlink_to("loop")
