"""Mutants of the kernels (tests/mutants.py) that no case can kill, since they compute the same; and why."""

# Of kernels/conv.cu: lines of its functions `place` and `write_fours`, and one of each of its kernels.
MIXED = "int mixed = line / 2 % 4 * (8 / run) ^ (length * sizeof(T) > 64 ? line % 2 * 4 : 0);"
FOURS = "if (at % 4 == 0 && place(r, c + 3) >= 0 && (unsigned long long)out % 8 == 0) {"
ROOM = [("conv", "int at[ROWS / SPAN_A], y0[ROWS / SPAN_A], x0[ROWS / SPAN_A];"),
        ("conv_transposed", "int at[ROWS / SPAN_A], i0[ROWS / SPAN_A], j0[ROWS / SPAN_A];"),
        ("conv_weights", "Tap taps[COLUMNS / SPAN_B];")]
STEPS = [(kernel, f"int all = ({depth} + DEPTH - 1) / DEPTH, first = all * part / s.parts, "
          "end = all * (part + 1) / s.parts;")
         for kernel, depth in (("conv", "depth"), ("conv_transposed", "depth"), ("conv_weights", "pixels"))]

# reason -> (files, function, line without its comment, the line of the mutant)
SAME: dict[str, list[tuple[str, str, str, str]]] = {
    "0 times the slope is 0": [
        ("activation batch_norm conditional_norm", "leaky", "return z < 0.0f ? (slope == 0.0f ? 0.0f : z * slope) : z;",
         "return z <= 0.0f ? (slope == 0.0f ? 0.0f : z * slope) : z;"),
        ("windows", "collect", "put(at, sum < 0.0f ? (slope == 0.0f ? 0.0f : sum * slope) : sum);",
         "put(at, sum <= 0.0f ? (slope == 0.0f ? 0.0f : sum * slope) : sum);"),
        ("conv", "ended", "return z < 0.0f ? (end.slope == 0.0f ? 0.0f : z * end.slope) : z;",
         "return z <= 0.0f ? (end.slope == 0.0f ? 0.0f : z * end.slope) : z;")],
    "a nan of x86's, made of bfloat16 alone, is rounded to a nan; a GPU's, which is 0x7fffffff, to -0": [
        ("sums", "as_number", "if (x != x) return 0x7fff;", changed) for changed in (
            ";", "if (false) return 0x7fff;")],
    "whether a number is there is asked below again": [
        ("activation batch_norm conditional_norm resample", "each", "if (place(0) >= count) return;", changed)
        for changed in ("if (false) return;", "if (place(0) > count) return;", "if (place(0) >= count) ;")],
    "0 is on both sides of the kink": [
        ("losses", "value_of", line, line.replace("z <", "z <=")) for line in (
            "if (function == RELU) return z < 0.0f ? 0.0f : z;",
            "if (function == SOFTPLUS) return (z < 0.0f ? 0.0f : z) + log1pf(expf(-fabsf(z)));")
    ] + [("losses", "slope_of",
          "if (function == SOFTPLUS) return expf(z < 0.0f ? z : 0.0f) / (1.0f + expf(-fabsf(z)));",
          "if (function == SOFTPLUS) return expf(z <= 0.0f ? z : 0.0f) / (1.0f + expf(-fabsf(z)));")],
    "a bank of shared memory is met twice, which tests/engine/loops/test_conv.py notices; the numbers are the same": [
        ("conv", "place", "if (by_rows) return i * DEPTH + ((k / 4) ^ (i % 8)) * 4 + k % 4;",
         "if (by_rows) return i * DEPTH + ((k / 4) ^ (i % 7)) * 4 + k % 4;")
    ] + [("conv", "place", "#if BITS == 10", f"#if BITS == {bits}") for bits in (9, 11)
    ] + [("conv", "place", MIXED, MIXED.replace(old, new)) for old, new in [
        ("8 / run", "7 / run"), ("8 / run", "9 / run"), ("% 4 *", "% 3 *"), ("/ 2 %", "/ 1 %"), ("/ 2 %", "/ 3 %"),
        ("% 2 *", "% 1 *"), ("2 * 4", "2 * 3"), ("2 * 4", "2 * 5"), ("2 * 4", "2 / 4"), ("> 64", "> 65"),
        ("> 64", "< 64"), (": 0", ": 1"), ("length *", "length /")]
    ] + [("conv", "place", "return k * size + (i ^ (k % 2 * 16 + k % 4 / 2 * 8));",
          f"return k * size + (i ^ ({changed}));") for changed in [
              "k % 1 * 16 + k % 4 / 2 * 8", "k % 2 / 16 + k % 4 / 2 * 8", "k % 2 * 16 + k % 3 / 2 * 8",
              "k % 2 * 16 + k % 4 / 3 * 8", "k % 2 * 16 + k % 4 / 2 / 8"]],
    "a bank of shared memory is met 32 times, or the room of a tile is larger; the numbers are the same": [
        ("spectral_norm", "sn_transpose", "__shared__ float tile[32][33];", f"__shared__ float tile{sizes};")
        for sizes in ("[32][32]", "[32][34]", "[33][33]")],
    "the tiles of a row in another order": [
        ("spectral_norm", "sn_transpose", "int c0 = (block - layers.first[l]) % wide * 32;",
         "int c0 = (block + layers.first[l]) % wide * 32;")],
    "a step is copied twice, or one too many, or some of zeros are added": [
        ("conv", "product", "for (int step = 0; step < STAGES - 1; step++) {",
         "for (int step = 0; step <= STAGES - 1; step++) {"),
        ("conv", "product", "if (step < steps) load((InA*)A, (InB*)(A + TILE_A), step);",
         "if (step <= steps) load((InA*)A, (InB*)(A + TILE_A), step);"),
        ("conv", "product", "for (int step = 0; step < STAGES - 1; step++) {",
         "for (int step = 0; step < STAGES - 0; step++) {"),
        *(("conv", "product", "if (next < steps) load((InA*)other, (InB*)(other + TILE_A), next);",
           f"if ({changed}) load((InA*)other, (InB*)(other + TILE_A), next);")
          for changed in ("next <= steps", "true")),
        *(("conv", kernel, line, line.replace("DEPTH - 1", changed)) for kernel, line in STEPS
          for changed in ("DEPTH - 0", "DEPTH + 1"))],
    "as bfloat16 a 1 is 9e-41": [
        ("conv", "copy", "else *to = there ? *from : 0;", "else *to = there ? *from : 1;")],
    "four results at once are written less often, or never; one by one they are the same. The cases' results begin at "
    "multiples of 8 bytes, those of tests/engine/loops/test_conv.py elsewhere, too": [
        ("conv", "write_fours", FOURS, "if (false) {")] + [
        ("conv", "write_fours", FOURS, FOURS.replace(old, new)) for old, new in [
            ("at %", "at /"), ("at %", "at *"), (">= 0", "> 0"), (">= 0", ">= 1"), ("c + 3", "c + 4"),
            ("out %", "out /"), ("out %", "out *"), ("% 8", "% 7"), ("% 8", "% 9"), ("8 == 0", "8 == 1"),
            ("8 == 0", "8 != 0")]],
    "how far a loop is unrolled": [
        ("conv", function, "#pragma unroll 1", f"#pragma unroll {n}") for function in ("finish", "write_fours")
        for n in (0, 2)],
    "a third round is for more than 256 parts; tests/kernels/test_kernels.py has one, in groups of 4": [
        ("conv", "finish", "int* mine = tickets + first * step + (members > 1 ? level : 0);",
         "int* mine = tickets + first / step + (members > 1 ? level : 0);")],
    "weights have no bias": [
        ("conv", "conv_weights", "End ending = {scale, bias, has_scale, has_bias, slope, numbers - k0};",
         "End ending = {scale, bias, has_scale, has_bias, slope, numbers + k0};")],
    "it waits for younger copies, too, that nobody needs yet": [
        ("conv", "wait_for_step", 'asm volatile("cp.async.wait_group %0;" :: "n"(STAGES - 2) : "memory");',
         'asm volatile("cp.async.wait_group %0;" :: "n"(STAGES - 3) : "memory");')],
    "a loop by 5 has one round up to 4, as one by 4": [
        ("conv", "run", "return half ? wide : wide ? 4 : 1;", "return half ? wide : wide ? 5 : 1;")],
    "the emulator's shared memory is aligned anyway; NVIDIA's compiler takes powers of 2 alone": [
        ("conv", function, "extern __shared__ __align__(16) float shared[];",
         f"extern __shared__ __align__({size}) float shared[];")
        for size in (15, 17) for function in ("product", "is_last_block")],
    "with slope 1 both branches are gy; y, which is some array then, is read for nothing": [
        ("batch_norm conditional_norm", "before_leaky",
         "return slope == 1.0f || as_float(y[i]) > 0.0f ? gy : gy * slope;",
         "return slope == 2.0f || as_float(y[i]) > 0.0f ? gy : gy * slope;")],
    "where both are equal they are the same": [
        (file, function, "long long end = first + rows_per_block < rows ? first + rows_per_block : rows;",
         "long long end = first + rows_per_block <= rows ? first + rows_per_block : rows;")
        for file, function in [("activation", "bias_leaky_gradient"), ("activation", "sum_rows"),
                               ("batch_norm", "batch_statistics"), ("batch_norm", "normalize_sums")]],
    "a label that lies inside stays what it is, without the short way, too": [
        (file, "row_of", f"if (label >= 0 && label < {rows}) return label;", changed)
        for file, rows in (("conditional_norm", "classes"), ("sums", "rows")) for changed in (
            ";", "if (false) return label;", f"if (label > 0 && label < {rows}) return label;",
            f"if (label >= 1 && label < {rows}) return label;")],
    "whichever thread does it": [
        ("activation batch_norm", "is_last_block", "if (threadIdx.x == 0 && threadIdx.y == 0) {",
         "if (threadIdx.x == 0 && threadIdx.y == 1) {"),  # blocks are at least 8 high
        ("power_iteration", "power_iteration", "if (threadIdx.x == 0) u[r] = sum;",
         "if (threadIdx.x == 1) u[r] = sum;"),
        ("power_iteration", "power_iteration", "if (threadIdx.x == 0) *sigma = squares / length;",
         "if (threadIdx.x == 1) *sigma = squares / length;"),
        ("power_iteration", "sn_wv", "if (threadIdx.x == 0) {", "if (threadIdx.x == 1) {"),
        ("operator_norm", "operator_norms", "if (threadIdx.x == 0) {", "if (threadIdx.x == 1) {"),
        ("operator_norm", "operator_dots", "if (threadIdx.x == 0) parts[block] = sum;",
         "if (threadIdx.x == 1) parts[block] = sum;"),
        ("spectral_norm", "sn_correct", "if (layers.dgammas && block == layers.first[l] && threadIdx.x == 0)",
         "if (layers.dgammas && block == layers.first[l] && threadIdx.x == 1)"),
        ("spectral_norm", "sn_dots", "if (threadIdx.x == 0) parts[block] = sum;",
         "if (threadIdx.x == 1) parts[block] = sum;"),
        ("sample_norms", "sample_norms", "if (threadIdx.x == 0) norms[blockIdx.x] = sqrtf(squares);",
         "if (threadIdx.x == 1) norms[blockIdx.x] = sqrtf(squares);")],
    "there is more room than is used, or a number more": [
        *(("conv", function, line, line[:place] + "*" + line[place + 1:]) for function, line in ROOM
          for place, letter in enumerate(line) if letter == "/"),
        *(("power_iteration spectral_norm operator_norm sample_norms", "block_sum", "__shared__ float parts[32];",
           f"__shared__ float parts[{size}];") for size in (31, 33)),
        ("activation", "add_up", "__shared__ float shared[256];", "__shared__ float shared[257];"),
        ("losses", "mean_of", "__shared__ float sums[256];", "__shared__ float sums[257];"),
        ("batch_norm", "batch_statistics", "__shared__ Moments shared[256];", "__shared__ Moments shared[257];"),
        ("batch_norm", "normalize_sums", "__shared__ float2 shared[256];", "__shared__ float2 shared[257];"),
        ("conditional_norm", "label_sums", "__shared__ float2 shared[256];", "__shared__ float2 shared[257];"),
        *(("power_iteration", "sn_wtu", "__shared__ float sums[8][32];", f"__shared__ float sums{sizes};")
          for sizes in ("[8][33]", "[9][32]"))],
    "the same for the multiples of 32 up to 256, and no block has more threads": [
        ("power_iteration spectral_norm operator_norm sample_norms", "block_sum",
         "if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;",
         "if (threadIdx.x % 32 == 0) parts[threadIdx.x / 31] = value;"),
        ("power_iteration spectral_norm operator_norm sample_norms", "block_sum",
         "for (int warp = 0; warp < (int)blockDim.x / 32; warp++)",
         "for (int warp = 0; warp < (int)blockDim.x / 31; warp++)")],
    "a sum is negated twice: in its parts, and in their sum": [
        ("spectral_norm operator_norm", "block_sum", "sum += parts[warp];", "sum -= parts[warp];")],
    "it is multiplied by an inverse of 0": [
        ("operator_norm", "operator_correct", "float slant = square == 0.0f ? 0.0f : inner / square;",
         "float slant = square == 0.0f ? 1.0f : inner / square;")],
    "a layer has at most 256 parts, one a thread: there is one round": [
        ("spectral_norm", "sn_correct",
         "for (int part = layers.first[l] + threadIdx.x; part < layers.first[l + 1]; part += blockDim.x)", changed)
        for changed in [
            "for (int part = layers.first[l] + threadIdx.x, rounds = 0; rounds++ == 0 && (part < layers.first[l + 1]); "
            "part += blockDim.x)",
            "for (int part = layers.first[l] + threadIdx.x; part < layers.first[l + 1]; part = blockDim.x)"]
    ] + [("spectral_norm", "sn_correct", "dot += parts[part];", "dot = parts[part];")],
    "whatever the mean of no numbers is, it counts for nothing": [
        ("batch_norm", "batch_statistics", "Moments all = {0.0f, 0.0f, 0.0f};", "Moments all = {0.0f, 1.0f, 0.0f};")],
    "all that is negative lies outside": [
        ("windows", "pixel_of", "if (y < 0 || y >= w.H || x < 0 || x >= w.W) return -1;",
         "if (y < 0 || y >= w.H || x < 0 || x >= w.W) return -2;")],
    "four numbers at once are read less often, or never; one by one they give the same, slower": [
        ("power_iteration", "sn_wv", "if (cols % 4 == 0 && (unsigned long long)W % 16 == 0 && "
         "(unsigned long long)v % 16 == 0) {", changed) for changed in [
            "if (false) {",
            *(f"if ({c} == 0 && (unsigned long long){W} && (unsigned long long){v}) {{" for c, W, v in [
                ("cols * 4", "W % 16 == 0", "v % 16 == 0"), ("cols % 4", "W * 16 == 0", "v % 16 == 0"),
                ("cols % 4", "W / 16 == 0", "v % 16 == 0"), ("cols % 4", "W % 16 == 1", "v % 16 == 0"),
                ("cols % 4", "W % 16 == 0", "v * 16 == 0"), ("cols % 4", "W % 16 == 0", "v / 16 == 0"),
                ("cols % 4", "W % 16 == 0", "v % 15 == 0"), ("cols % 4", "W % 16 == 0", "v % 16 == 1"),
                ("cols % 4", "W % 16 == 0", "v % 16 != 0")])]],
}

EQUIVALENT: dict[tuple[str, str, str, str], str] = {  # (file, function, line, changed) -> reason
    (file, *change): reason for reason, changes in SAME.items() for files, *change in changes for file in files.split()}
