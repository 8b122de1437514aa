// Decision trees: sums of gradient pairs by bin, rows parted by a split, and the scores of an ensemble.
//
// Gradients come as whole numbers, so that sums are exact in whatever order atomics add them, and the rows of a
// split stay in their order, so that both are the CPU's to the bit. The host's mirror is gpu/src/cuda/trees.rs.
//
// Roofline: a histogram reads one byte a column and does one addition in shared memory with it, so it is bound by
// atomics there; a partition reads one byte a row out of a row's bins, a line of the cache for each, and is
// bound by memory; a walk depends on its last load at every node, and is bound by latency.

#include "design.cuh"

typedef unsigned short u16;
typedef long long i64;

// Bins of a column with that of missing values.
#define BINS 256
// Columns that a block sums; with wide pairs they fill 32 KiB of shared memory.
#define COLUMNS 8
// Threads of a block that parts rows, and the neighbouring rows of each.
#define SPLITTERS 256
#define ROWS_OF_SPLITTER 8

// Rows of sets, as numbers in a chunk of at most 65536 rows: set `s` is `length[s]` rows from `start[s]` on.
struct RowSets {
    const u16 *order;
    const u32 *start;
    const u32 *length;
};

// A 16-bit pair is one word with the gradient in the high half: one addition adds both, since the sum of the low half
// of 65536 rows does not reach the high one.
struct Narrow {
    typedef u32 Pair;
    static const u32 WORDS = 1;
    static __device__ __forceinline__ void add(u64 *cell, u32 pair)
    {
        i64 gradient = (int)pair >> 16;
        atomicAdd(cell, (u64)(gradient * 4294967296ll) + (pair & 0xffff));
    }
    static __device__ __forceinline__ u64 gradient(const u64 *cell)
    {
        return (u64)((i64)*cell >> 32);
    }
    static __device__ __forceinline__ u64 hessian(const u64 *cell) { return *cell & 0xffffffff; }
};

struct Wide {
    typedef u64 Pair;
    static const u32 WORDS = 2;
    static __device__ __forceinline__ void add(u64 *cell, u64 pair)
    {
        atomicAdd(cell, (u64)(i64)(int)(pair >> 32));
        atomicAdd(cell + 1, pair & 0xffffffff);
    }
    static __device__ __forceinline__ u64 gradient(const u64 *cell) { return cell[0]; }
    static __device__ __forceinline__ u64 hessian(const u64 *cell) { return cell[1]; }
};

// out[set][column][bin] += the pairs of the set's rows with that bin. A block has some rows of a set and some columns.
template <typename Kind>
__device__ __forceinline__ void histogram(const u8 *bins, const typename Kind::Pair *pairs,
                                          const RowSets &sets, const u32 *columns, u32 row_bytes,
                                          u32 n_columns, u32 rows_per_block, u64 *out)
{
    __shared__ u64 cells[COLUMNS * BINS * Kind::WORDS];
    u32 set = blockIdx.z;
    u32 length = sets.length[set];
    u32 first = blockIdx.x * rows_per_block;
    if (first >= length) return;
    u32 end = min(first + rows_per_block, length);
    u32 first_column = blockIdx.y * COLUMNS;
    u32 n = min(COLUMNS, n_columns - first_column);
    u32 n_cells = n * BINS;
    for (u32 word = threadIdx.x; word < n_cells * Kind::WORDS; word += blockDim.x) cells[word] = 0;
    __syncthreads();
    const u16 *rows = sets.order + sets.start[set];
    for (u32 at = first + threadIdx.x; at < end; at += blockDim.x) {
        u32 row = rows[at];
        typename Kind::Pair pair = pairs[row];
        const u8 *of_row = bins + (u64)row * row_bytes;
        for (u32 column = 0; column < n; ++column) {
            u32 bin = of_row[columns[first_column + column]];
            Kind::add(&cells[(column * BINS + bin) * Kind::WORDS], pair);
        }
    }
    __syncthreads();
    u64 *into = out + ((u64)set * n_columns + first_column) * BINS * 2;
    for (u32 cell = threadIdx.x; cell < n_cells; cell += blockDim.x) {
        u64 gradient = Kind::gradient(&cells[cell * Kind::WORDS]);
        u64 hessian = Kind::hessian(&cells[cell * Kind::WORDS]);
        if (gradient) atomicAdd(&into[cell * 2], gradient);
        if (hessian) atomicAdd(&into[cell * 2 + 1], hessian);
    }
}

extern "C" __global__ void histogram_narrow(const u8 *bins, const u32 *pairs, RowSets sets,
                                            const u32 *columns, u32 row_bytes, u32 n_columns,
                                            u32 rows_per_block, u64 *out)
{
    histogram<Narrow>(bins, pairs, sets, columns, row_bytes, n_columns, rows_per_block, out);
}

extern "C" __global__ void histogram_wide(const u8 *bins, const u64 *pairs, RowSets sets,
                                          const u32 *columns, u32 row_bytes, u32 n_columns,
                                          u32 rows_per_block, u64 *out)
{
    histogram<Wide>(bins, pairs, sets, columns, row_bytes, n_columns, rows_per_block, out);
}

// How the rows of each set are parted: by the bins of a column that go left, four words of bits a set.
struct Splits {
    const u32 *column;
    const u64 *left_bins;
};

// Which of a thread's neighbouring rows go left, a bit each.
__device__ __forceinline__ u32 left_rows(const u8 *bins, u32 row_bytes, const RowSets &sets,
                                         const Splits &splits, u32 set, u32 first)
{
    const u16 *rows = sets.order + sets.start[set];
    u32 column = splits.column[set], length = sets.length[set];
    const u64 *left_bins = splits.left_bins + set * 4;
    u32 found = 0;
    for (u32 at = 0; at < ROWS_OF_SPLITTER; ++at) {
        if (first + at >= length) break;
        u32 bin = bins[(u64)rows[first + at] * row_bytes + column];
        found |= (u32)(left_bins[bin / 64] >> (bin % 64) & 1) << at;
    }
    return found;
}

// counts[set][tile] = rows of a tile of the set that go left.
extern "C" __global__ void count_left(const u8 *bins, u32 row_bytes, RowSets sets, Splits splits,
                                      u32 *counts)
{
    __shared__ u32 scratch[SPLITTERS];
    u32 thread = threadIdx.x, set = blockIdx.y;
    u32 first = (blockIdx.x * SPLITTERS + thread) * ROWS_OF_SPLITTER;
    scratch[thread] = __popc(left_rows(bins, row_bytes, sets, splits, set, first));
    __syncthreads();
    for (u32 half = SPLITTERS / 2; half > 0; half /= 2) {
        if (thread < half) scratch[thread] += scratch[thread + half];
        __syncthreads();
    }
    if (thread == 0) counts[set * gridDim.x + blockIdx.x] = scratch[0];
}

// Writes the rows of each set with those that go left first, all in their order, to the same places of `out`.
extern "C" __global__ void part_rows(const u8 *bins, u32 row_bytes, RowSets sets, Splits splits,
                                     const u32 *counts, u16 *out)
{
    __shared__ u32 lefts[SPLITTERS];
    u32 thread = threadIdx.x, set = blockIdx.y;
    u32 start = sets.start[set], length = sets.length[set];
    if (blockIdx.x * SPLITTERS * ROWS_OF_SPLITTER >= length) return;
    u32 before = 0, total = 0;
    for (u32 tile = 0; tile < gridDim.x; ++tile) {
        u32 count = counts[set * gridDim.x + tile];
        total += count;
        before += tile < blockIdx.x ? count : 0;
    }
    u32 first = (blockIdx.x * SPLITTERS + thread) * ROWS_OF_SPLITTER;
    u32 found = left_rows(bins, row_bytes, sets, splits, set, first);
    u32 mine = __popc(found);
    lefts[thread] = mine;
    __syncthreads();
    for (u32 step = 1; step < SPLITTERS; step *= 2) {
        u32 more = thread >= step ? lefts[thread - step] : 0;
        __syncthreads();
        lefts[thread] += more;
        __syncthreads();
    }
    u32 left = before + lefts[thread] - mine;
    u32 right = total + first - left;
    for (u32 at = 0; at < ROWS_OF_SPLITTER; ++at) {
        if (first + at >= length) break;
        u16 row = sets.order[start + first + at];
        if (found >> at & 1) out[start + left++] = row;
        else out[start + right++] = row;
    }
}

// Copies the rows of each set to the same places of `out`.
extern "C" __global__ void store_rows(RowSets sets, u16 *out)
{
    u32 at = blockIdx.x * blockDim.x + threadIdx.x, set = blockIdx.y;
    if (at >= sets.length[set]) return;
    u32 place = sets.start[set] + at;
    out[place] = sets.order[place];
}

// The trees of an ensemble as arrays over all their nodes.
struct Forest {
    const int *feature;         // dense ones first, then code columns; -1 for a leaf
    const double *threshold;    // numbers up to it go left; of a leaf its value
    const u32 *left;
    const u32 *right;
    const u32 *missing_left;    // where NaN and codes without a bit go
    const u32 *set_start;       // the first word of the codes that go left
    const u32 *set_codes;       // how many codes have a bit
    const u64 *words;
    const u32 *root;            // of each tree
    const u32 *output;          // of each tree
    const double *base_scores;
    u32 n_trees;
    u32 n_outputs;
};

template <typename T>
__device__ __forceinline__ bool goes_left(const Design &design, const Forest &forest, u32 node,
                                          u32 feature, u32 row)
{
    if (feature < design.n_dense) {
        double x = (double)((const T *)design.dense)[(u64)feature * design.n_rows + row];
        return x <= forest.threshold[node] || (x != x && forest.missing_left[node]);
    }
    u32 code = design.codes[(u64)(feature - design.n_dense) * design.n_rows + row];
    if (code >= forest.set_codes[node]) return forest.missing_left[node];
    return forest.words[forest.set_start[node] + code / 64] >> (code % 64) & 1;
}

// scores[row][output] = the base score and the values of the row's leaves, added in the order of the trees.
template <typename T>
__device__ __forceinline__ void forest_scores(const Design &design, const Forest &forest,
                                              double *scores)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= design.n_rows) return;
    double *mine = scores + (u64)row * forest.n_outputs;
    for (u32 output = 0; output < forest.n_outputs; ++output) mine[output] = forest.base_scores[output];
    for (u32 tree = 0; tree < forest.n_trees; ++tree) {
        u32 node = forest.root[tree];
        int feature = forest.feature[node];
        while (feature >= 0) {
            bool left = goes_left<T>(design, forest, node, (u32)feature, row);
            node = left ? forest.left[node] : forest.right[node];
            feature = forest.feature[node];
        }
        mine[forest.output[tree]] += forest.threshold[node];
    }
}

extern "C" __global__ void forest_f32(Design design, Forest forest, double *scores)
{
    forest_scores<float>(design, forest, scores);
}

extern "C" __global__ void forest_f64(Design design, Forest forest, double *scores)
{
    forest_scores<double>(design, forest, scores);
}
