"""Random mutants of the kernels: that there are some of each, that some die, and that the known ones still exist."""

import pytest
from equivalent_mutants import EQUIVALENT

from tests import mutants

EVERY = [mutant for path in sorted(mutants.FOLDER.glob("*.cu")) for mutant in mutants.mutants(path.stem)]


def test_every_kernel_has_mutants_that_differ_in_one_place():
    functions = {name: body for path in mutants.FOLDER.glob("*.cu")
                 for name, body in mutants.functions(path.stem).items()}
    found = {mutant.function for mutant in EVERY}
    assert found <= set(functions) and {name for name in functions if " asm" not in functions[name]} <= found
    for mutant in EVERY:
        source = mutants.cuda.source(f"{mutant.file}.cu")
        before, after = source.split("\n"), mutant.source.split("\n")
        assert [i + 1 for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [mutant.number]
    assert len({mutant.source for mutant in EVERY}) == len(EVERY)


@pytest.mark.parametrize("kind", [
    ("for (int row = 0; row < n; row++)", "for (int row = 0, rounds = 0; rounds++ == 0 && (row < n); row++)"),
    ("for (int row = 0; row < n; row++)", "for (int row = 0; row <= n; row++)"),
    ("if (row < n) x += 2;", "if (true) x += 2;"), ("if (row < n) x += 2;", "if (row < n) ;"),
    ("if (row < n) x += 2;", "if (row < n) x += 3;"), ("int i = threadIdx.x;", "int i = threadIdx.y;")])
def test_operators_bounds_branches_and_statements_are_changed(kind, monkeypatch):
    line, changed = kind
    source = f'extern "C" __global__ void kernel(int* x) {{\n    {line}  // if (n < 3)\n}}\n'
    monkeypatch.setattr(mutants.cuda, "source", lambda name: source)
    found = mutants.mutants("file")
    assert changed in [mutant.changed for mutant in found]
    assert all(mutant.line == line and mutant.changed != line for mutant in found)


def test_random_mutants_are_killed(capsys):
    assert mutants.main(["--count", "8", "--seed", "2"]) == 0
    assert "8 mutants in" in capsys.readouterr().out


def test_a_mutant_that_lives_is_named(capsys, monkeypatch):
    monkeypatch.setattr(mutants, "CASES", [])
    assert mutants.main(["--kernel", "adam", "--count", "1"]) == 1
    assert "kernels/adam.cu:" in (said := capsys.readouterr().out) and "1 alive" in said


def test_the_equivalent_mutants_are_mutants():
    """A line that was changed takes its mutants along: whether the new ones live is to be seen anew."""
    keys = {(mutant.file, mutant.function, mutant.line, mutant.changed) for mutant in EVERY}
    assert [key for key in EQUIVALENT if key not in keys] == []
    assert all(EQUIVALENT.values())
