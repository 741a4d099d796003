"""Do the tests notice when the code is wrong? One small change at a time, and the tests of the file that has it.

    pip install --no-deps cosmic-ray==8.7.0 parso==0.8.7
    python benchmarks/mutants.py runs/mutants.jsonl                      # all changes; `make mutants`
    python benchmarks/mutants.py runs/mutants.jsonl --files losses.py search/exact.py
    python benchmarks/mutants.py runs/mutants.jsonl --sample 40 --seed 1         # so many of each file

The changes are Cosmic Ray's: another operator (`+` for `-`, `<=` for `<`, `or` for `and`), a number one larger or
smaller, True for False, a `not` more or less, `break` for `continue`, a loop over nothing, a decorator less. Arithmetic
operators are not exchanged for bitwise ones: any test sees that. Left out is, too, what has no say in what the code
computes: annotations, signatures but for their defaults, imports, `__all__`, f-strings and what a `raise` says; and
what Python itself refuses to compile or warns of.

A change is *killed* if a test fails, and by *timeout* if a test takes more than five times its usual time and two
seconds of processor time, or all together five times and ten. Each runs in a process forked off one that has imported
whatever the tests import; what imports the changed file is forgotten there first. The type checks of the test suite
stay switched on; hypothesis draws the same examples each time, shrinks nothing and has no deadline. Tests that are
quick and have killed before come first.

One JSON line per change is appended to the file; started again, it leaves out what is there, survivors of other tests
aside. In a sample, a room's share is weighted by its files' numbers of changes; the interval is Wilson's for the
sample's effective size. Runs on Linux.
"""

import argparse
import ast
import contextlib
import difflib
import gc
import hashlib
import importlib
import importlib.machinery
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter, defaultdict
from pathlib import Path

import parso
import pytest
from beartype._cache.cacheclear import clear_caches
from cosmic_ray.ast import Visitor, ast_nodes
from cosmic_ray.operators.provider import OperatorProvider
from jaxtyping import install_import_hook

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "wherenot"
# A file's tests, the quick ones first; its doctests come before them.
TESTS = {
    "search": ["search_parts", "search"],
    "objective": ["objective", "losses"],
    "losses": ["losses"],
    "metrics/answers": ["metrics_answers"],
    "metrics/classification": ["metrics_classification"],
    "metrics/clicks": ["metrics_clicks"],
    "metrics/consistency": ["metrics_consistency"],
    "metrics/corruptions": ["metrics_corruptions"],
    "metrics/faithfulness": ["metrics_faithfulness", "metrics_answers"],
    "metrics/hallucination": ["metrics_hallucination"],
    "metrics/localization": ["metrics_localization"],
    "metrics/shares": ["metrics_shares"],
    "metrics/significance": ["metrics_significance"],
    "metrics/statistics": ["metrics_statistics", "metrics_significance"],
    "priors": ["priors_refused", "priors"],
}
FILES = [
    str(path.relative_to(SOURCE))
    for name in ("search", "objective.py", "losses.py", "metrics", "priors.py")
    for path in sorted((SOURCE / name).glob("*.py") if (SOURCE / name).is_dir() else [SOURCE / name])
    if path.name != "__init__.py"
]
GIGABYTE = 2**30
CHECKS = "wherenot", "beartype.beartype"  # of types, by an import hook; here it is there before pytest is
OPTIONS = [
    "-o", "addopts=", "--doctest-modules", "--import-mode=importlib", "-m", "not slow", "-x", "-q", "--tb=no",
    "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning",
]  # fmt: skip
BITWISE = {"BitAnd", "BitOr", "BitXor", "LShift", "RShift"}


def of_one_kind(name):
    """Whether an operator goes for one of its kind: `|` for the `+` of two floats dies of a TypeError at any test."""
    kind, *exchanged = name.split("_")
    return kind != "ReplaceBinaryOperator" or len(BITWISE & set(exchanged)) != 1


PROVIDER = OperatorProvider()
OPERATORS = {name: PROVIDER[name] for name in PROVIDER if not PROVIDER[name].arguments() and of_one_kind(name)}


class One(Visitor):
    """Applies one operator at one of the places where it fits."""

    def __init__(self, operator, occurrence):
        self._operator, self._left = operator, occurrence

    def visit(self, node):
        for index, _ in enumerate(self._operator.mutation_positions(node)):
            self._left -= 1
            if self._left == -1:
                return self._operator.mutate(node, index)
        return node


def left_out(source):
    """Spans, ((line, column), (line, column)), of what is not changed, and spans within these that are."""
    spans, but = [], []

    def span(node):
        return (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef():
                spans.append(((node.lineno, node.col_offset), (node.body[0].lineno, 0)))
                but += [span(default) for default in [*node.args.defaults, *node.args.kw_defaults] if default]
            case ast.AnnAssign():
                spans.append(span(node.annotation))
            case ast.Raise(exc=ast.Call(args=said)):
                spans += [span(text) for text in said]
            case ast.JoinedStr() | ast.Import() | ast.ImportFrom():
                spans.append(span(node))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() | ast.List()):
                if name == "__all__" or (isinstance(node.value, ast.Subscript) and name[0].isupper()):
                    spans.append(span(node))
    return spans, but


def compiles(source):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            compile(source, "mutant", "exec")
        except (SyntaxError, SyntaxWarning):
            return False
    return True


def mutants_of(name):
    """All changes of a file, always in the same order."""
    source = (SOURCE / name).read_text()
    spans, but = left_out(source)
    tree = parso.parse(source)

    def within(place, some):
        return any(start <= place < stop for start, stop in some)

    found = []
    for operator_name, make in sorted(OPERATORS.items()):
        operator = make()
        places = [place for node in ast_nodes(tree) for place, _ in operator.mutation_positions(node)]
        found += [
            {"file": name, "operator": operator_name, "occurrence": occurrence, "line": place[0], "column": place[1]}
            for occurrence, place in enumerate(places)
            if within(place, but) or not within(place, spans)
        ]
    return found


def mutated(mutant):
    source = (SOURCE / mutant["file"]).read_text()
    operator = OPERATORS[mutant["operator"]]()
    return One(operator, mutant["occurrence"]).walk(parso.parse(source)).get_code()


def tests_of(name):
    stem = name.removesuffix(".py")
    names = TESTS.get(stem) or TESTS[stem.partition("/")[0]]
    return [f"src/wherenot/{name}", *(f"tests/test_{test}.py" for test in names)]


class Told:
    """Runs the tests that promise most first, none for ever; tells which failed, how long each took, what was imported.

    Args:
        pipe: Where it is told.
        usual: Seconds of processor time that each test takes.
        kills: Changes of this file that each test has noticed.
    """

    def __init__(self, pipe, usual, kills):
        self._pipe, self._usual, self._kills, self._seconds = pipe, usual, kills, {}

    def write(self, kind, value):
        os.write(self._pipe, (json.dumps([kind, value]) + "\n").encode())

    def pytest_collection(self):
        # Pytest's own hook would read the file we name from disk.
        sys.meta_path.sort(key=lambda finder: type(finder).__module__.startswith("_pytest"))

    def pytest_collection_modifyitems(self, items):
        def promise(item):
            return (self._kills.get(item.nodeid, 0) + 0.1) / (self._usual.get(item.nodeid, 0) + 0.01)

        items.sort(key=promise, reverse=True)

    def pytest_runtest_logstart(self, nodeid):
        self._seconds[nodeid] = -time.process_time()
        if nodeid in self._usual:
            signal.setitimer(signal.ITIMER_VIRTUAL, 5 * self._usual[nodeid] + 2)

    def pytest_runtest_logfinish(self, nodeid):
        self._seconds[nodeid] += time.process_time()

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.write("failed", report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.write("failed", report.nodeid)

    def pytest_sessionfinish(self):
        tests = str(ROOT / "tests")
        files = [(name, getattr(module, "__file__", None) or "") for name, module in list(sys.modules.items())]
        self.write("imported", [name for name, file in files if not file.startswith(tests)])
        self.write("seconds", self._seconds)


def imports_of(module):
    """What a module of wherenot imports, in functions too."""
    found = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
        match node:
            case ast.ImportFrom(module=str(source), names=names):
                found |= {source, *(f"{source}.{alias.name}" for alias in names)}
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
    return found


def module_of(name):
    return "wherenot." + name.removesuffix(".py").replace("/", ".")


def dependent_on(name):
    """The loaded modules of wherenot that a change of a file concerns, but for the package itself."""
    imports = {key: imports_of(module) for key, module in sys.modules.items() if key.startswith("wherenot.")}
    found = {module_of(name)}
    while more := {key for key, imported in imports.items() if imported & found} - found:
        found |= more
    return found & set(imports)


def forget(modules):
    for name in modules:
        parent, _, last = name.rpartition(".")
        vars(sys.modules[parent]).pop(last, None)
    for name in modules:
        del sys.modules[name]
    clear_caches()  # beartype takes classes of one name for the same


def run_tests(name, source, tests, concerned, cpu_s, folder, told):
    """Run tests of a file in this process, with other source in its place if there is any."""
    forget(concerned)
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + 4 * GIGABYTE,) * 2)
    path, loader = str(SOURCE / name), importlib.machinery.SourceFileLoader
    get_data, path_stats = loader.get_data, loader.path_stats

    def other_data(self, asked):
        if asked != path:
            return get_data(self, asked)
        told.write("read", True)
        return source.encode()

    def no_stats(self, asked):
        if asked == path:
            raise OSError("what was compiled of the file is of no use")
        return path_stats(self, asked)

    if source is not None:  # the loader of the type checks' import hook inherits these
        loader.get_data, loader.path_stats = other_data, no_stats
    with contextlib.suppress(Exception):  # here, or pytest imports it twice: with its package and for its doctests
        importlib.import_module(module_of(name))
    import hypothesis

    few = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile("mutants", derandomize=True, database=None, deadline=None, phases=few)
    hypothesis.settings.load_profile("mutants")
    return pytest.main([*OPTIONS, f"--basetemp={folder}", *tests], plugins=[told])


def outcome(name, source, tests, concerned, cpu_s, folder, usual, kills):
    """Fork, run the tests, and say how that ended: code or signal, seconds of processor time, what was told."""
    gc.freeze()  # the child's collections need not look at what is here
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        os.close(reading)
        null = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(null, number)
        code = 70
        try:
            code = int(run_tests(name, source, tests, concerned, cpu_s, folder, Told(writing, usual, kills)))
        finally:
            os._exit(code)
    os.close(writing)
    handle, deadline, said = os.pidfd_open(child), time.monotonic() + 20 * cpu_s, b""
    while select.select([reading], [], [], max(deadline - time.monotonic(), 0))[0]:
        if not (more := os.read(reading, 1 << 16)):
            break
        said += more
    else:
        os.killpg(child, signal.SIGKILL)
    os.close(reading)
    select.select([handle], [], [], 60)
    os.close(handle)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    told = dict(reversed([json.loads(line) for line in said.decode().splitlines() if line.endswith("]")]))
    return os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, told


def digest(paths):
    return hashlib.sha256(b"".join(Path(path).read_bytes() for path in paths)).hexdigest()[:12]


def verdict(code):
    if code == 0:
        return "survived"
    if code in (-signal.SIGVTALRM, -signal.SIGXCPU, -signal.SIGKILL):
        return "timeout"
    if code in (1, 2, 3) or code < 0:  # a test failed, a file could not be imported, pytest or Python crashed
        return "killed"
    raise SystemExit(f"pytest ended with {code}, which says nothing")


def changed_lines(old, new):
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]


def chosen(name, sample, seed):
    """Changes of a file and its source with each, in an order drawn at random: a larger sample holds the smaller."""
    every = mutants_of(name)
    random.Random(f"{seed} {name}").shuffle(every)
    source, kept = (SOURCE / name).read_text(), []
    for mutant in every:
        new = mutated(mutant)
        if compiles(new) and ast.dump(ast.parse(new)) != ast.dump(ast.parse(source)):
            kept.append((mutant | {"change": changed_lines(source, new)}, new))
            if len(kept) == sample:
                break
    return kept, len(every) if len(kept) == sample else len(kept)


def measure(name, mutants, known, usual, file, folder):
    """Run those of a file's changes whose result is not known, and append each result to the file."""
    state = {"source": digest([SOURCE / name]), "tests": digest(ROOT / test for test in tests_of(name)[1:])}
    wanted = [(mutant, new) for mutant, new in mutants if not _known(mutant, state, known)]
    if not wanted:
        return
    tests = tests_of(name)
    if new := [test for test in tests if not any(key.startswith(f"{test}::") for key in usual)]:
        code, _, told = outcome(name, None, new, dependent_on(name), 600, folder, {}, {})
        if code not in (0, 5):  # without a doctest there is no test in the file itself
            raise SystemExit(f"{name}: the tests fail without any change: {told.get('failed')}")
        usual |= told["seconds"]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for module in told["imported"]:
                with contextlib.suppress(Exception):
                    importlib.import_module(module)
    concerned, kills = dependent_on(name), Counter(known[key]["by"] for key in known if key[0] == name)
    seconds = sum(usual[key] for key in usual if key.startswith(tuple(f"{test}::" for test in tests)))
    print(f"{name}: {len(wanted)} of {len(mutants)} to run; the tests take {seconds:.1f} s", flush=True)
    for mutant, new in wanted:
        code, spent, told = outcome(name, new, tests, concerned, int(5 * seconds) + 10, folder, usual, kills)
        if "read" not in told:
            raise SystemExit(f"{name}: nothing of it was read; the change was not tried")
        result = {"result": verdict(code), "by": told.get("failed"), "cpu_s": round(spent, 2)}
        record = mutant | state | result
        known[_key(record)] = record
        kills[record["by"]] += 1
        file.write(json.dumps(record) + "\n")
        file.flush()


def _key(mutant):
    return mutant["file"], mutant["operator"], mutant["occurrence"], mutant["source"]


def _known(mutant, state, known):
    record = known.get(_key(mutant | state))
    return record and (record["result"] != "survived" or record["tests"] == state["tests"])


def wilson(share, count):
    z = 1.96
    middle, half = share + z**2 / (2 * count), z * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return (middle - half) / (1 + z**2 / count), (middle + half) / (1 + z**2 / count)


def report(counts, records):
    """Print a table by room and one by kind of change, and what survived."""
    rooms, kinds = defaultdict(list), defaultdict(list)
    for record in records:
        rooms[record["file"].partition("/")[0].removesuffix(".py")].append(record)
        kinds[record["operator"].split("_")[0]].append(record)
    print("\n| room | changes | tried | killed | timeouts | survived | share killed (95 %) |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for room, some in [*rooms.items(), ("all", records)]:
        tried = defaultdict(list)
        for record in some:
            tried[record["file"]].append(record["result"] != "survived")
        every = sum(counts[name] for name in tried)
        share = sum(counts[name] * sum(dead) / len(dead) for name, dead in tried.items()) / every
        effective = every**2 / sum(counts[name] ** 2 / len(dead) for name, dead in tried.items())
        low, high = wilson(share, effective)
        interval = f" ({low:.1%} to {high:.1%})" if len(some) < every else ""
        print(f"| {room} | {every} | {_counted(some)} | {share:.1%}{interval} |")
    print("\n| kind | tried | killed | timeouts | survived |\n|---|---:|---:|---:|---:|")
    for kind, some in sorted(kinds.items()):
        print(f"| {kind} | {_counted(some)} |")
    for record in records:
        if record["result"] == "survived":
            print(f"\n{record['file']}:{record['line']} {record['operator']}", *record["change"], sep="\n")


def _counted(records):
    results = [record["result"] for record in records]
    return " | ".join(str(count) for count in (len(results), *map(results.count, ("killed", "timeout", "survived"))))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="JSON lines; read first, if they are there")
    parser.add_argument("--files", nargs="+", default=FILES, choices=FILES, metavar="FILE", help="below src/wherenot")
    parser.add_argument("--sample", type=int, default=0, help="changes of each file; 0 for all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    options = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    os.chdir(ROOT)
    sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
    install_import_hook(*CHECKS)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    known = {_key(record): record for record in map(json.loads, lines)}
    counts, records, usual = {}, [], {}
    with tempfile.TemporaryDirectory() as folder, options.out.open("a") as file:
        for name in options.files:
            mutants, counts[name] = chosen(name, options.sample, options.seed)
            measure(name, mutants, known, usual, file, Path(folder) / "tests")
            source = digest([SOURCE / name])
            records += [known[_key(mutant | {"source": source})] for mutant, _ in mutants]
    report(counts, records)


if __name__ == "__main__":
    main()
