"""Run by mpiexec (tests/parallel/test_mpi.py): the mean over the processes against a plain sum in their order.

    mpiexec -n 3 python tests/mpi_mean.py
"""

import tracemalloc

import numpy as np

from minigan.parallel import mpi

SHAPES = {"one number": [()], "small": [(3,), (2, 5)], "odd": [(7, 1), (101, 33), (), (5, 999)],
          "large": [(1 << 18,), (3, 77, 1001)]}


def main():
    group = mpi.group()
    for name, shapes in SHAPES.items():
        for dtype in (np.float32, np.float64):
            everyone = [[np.random.default_rng([rank, i]).standard_normal(shape).astype(dtype) * 10.0 ** (rank - 1)
                         for i, shape in enumerate(shapes)] for rank in range(group.size)]
            mine, kept = everyone[group.rank], [a.copy() for a in everyone[group.rank]]
            tracemalloc.start()
            found = group.mean(mine)
            times = tracemalloc.get_traced_memory()[1] / sum(a.nbytes for a in mine)
            tracemalloc.stop()
            same = True
            for i, a in enumerate(found):
                total = everyone[0][i].copy()
                for other in everyone[1:]:
                    total = total + other[i]
                expected = (total / dtype(group.size)).astype(dtype)
                same &= (a.tobytes(), a.shape, a.dtype) == (expected.tobytes(), expected.shape, expected.dtype)
                same &= mine[i].tobytes() == kept[i].tobytes()
            rows = group.comm.gather((same, times))
            if group.rank == 0:
                said = "the same bytes" if all(one for one, _ in rows) else "OTHER BYTES"
                print(f"{name} {np.dtype(dtype)}: {said}, memory {max(t for _, t in rows):.1f} times", flush=True)


if __name__ == "__main__":
    main()
