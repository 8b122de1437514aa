// Products of two matrices in the type of their elements.
//
// A block computes a tile of 64 x 64 elements of the result from stretches of 16 inner elements that lie in shared
// memory; each thread keeps 4 x 4 sums in registers and adds in the order of the inner elements, by fused
// multiply-adds from 0. A long inner side is shared among blocks along z, whose partial results `sum_products` adds in
// their order. How factors lie is told by steps, so that transposed ones need no copy.
//
// Roofline: per tile and inner element 128 values come from memory (through the caches, that of a neighbour's tile
// again) for 4096 fused multiply-adds, which read 8 values of shared memory each 16; so a tile is bound by arithmetic
// from some 8 (f32: 16) rows and columns on, and thin products by memory. See docs/gpu.md.

typedef unsigned int u32;
typedef unsigned long long u64;

#define TILE 64
#define DEPTH 16
#define SIDE 16
#define OWN (TILE / SIDE)

struct Factors {
    const void *left;
    const void *right;
    u32 left_row;             // steps between neighbouring elements
    u32 left_inner;
    u32 right_inner;
    u32 right_column;
    u32 n_rows;
    u32 n_inner;
    u32 n_columns;
    u32 inner_per_block;
};

__device__ __forceinline__ float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ __forceinline__ double fused(double a, double b, double c) { return fma(a, b, c); }

// Brings a tile of a factor to shared memory, neighbouring threads neighbouring elements; zeros beyond its ends.
template <typename T>
__device__ __forceinline__ void load(const T *factor, u32 step, u32 inner_step, u32 first, u32 n,
                                     u32 start, u32 end, T (*into)[TILE + 1])
{
    for (u32 at = threadIdx.y * SIDE + threadIdx.x; at < TILE * DEPTH; at += SIDE * SIDE) {
        u32 place = inner_step == 1 ? at / DEPTH : at % TILE;
        u32 inner = inner_step == 1 ? at % DEPTH : at / TILE;
        bool is_there = first + place < n && start + inner < end;
        u64 element = (u64)(first + place) * step + (u64)(start + inner) * inner_step;
        into[inner][place] = is_there ? factor[element] : (T)0;
    }
}

// out[block along z][column][row].
template <typename T> __device__ __forceinline__ void gemm(const Factors &factors, T *out)
{
    __shared__ T left[DEPTH][TILE + 1];
    __shared__ T right[DEPTH][TILE + 1];
    u32 first_row = blockIdx.x * TILE, first_column = blockIdx.y * TILE;
    u32 begin = blockIdx.z * factors.inner_per_block;
    u32 end = min(begin + factors.inner_per_block, factors.n_inner);
    T sums[OWN][OWN];
#pragma unroll
    for (u32 i = 0; i < OWN; ++i)
#pragma unroll
        for (u32 j = 0; j < OWN; ++j) sums[i][j] = (T)0;
    for (u32 start = begin; start < end; start += DEPTH) {
        load<T>((const T *)factors.left, factors.left_row, factors.left_inner, first_row,
                factors.n_rows, start, end, left);
        load<T>((const T *)factors.right, factors.right_column, factors.right_inner, first_column,
                factors.n_columns, start, end, right);
        __syncthreads();
#pragma unroll 4
        for (u32 inner = 0; inner < DEPTH; ++inner) {
            T a[OWN], b[OWN];
#pragma unroll
            for (u32 i = 0; i < OWN; ++i) a[i] = left[inner][threadIdx.x + SIDE * i];
#pragma unroll
            for (u32 j = 0; j < OWN; ++j) b[j] = right[inner][threadIdx.y + SIDE * j];
#pragma unroll
            for (u32 i = 0; i < OWN; ++i)
#pragma unroll
                for (u32 j = 0; j < OWN; ++j) sums[i][j] = fused(a[i], b[j], sums[i][j]);
        }
        __syncthreads();
    }
    T *into = out + (u64)blockIdx.z * factors.n_rows * factors.n_columns;
#pragma unroll
    for (u32 j = 0; j < OWN; ++j) {
        u32 column = first_column + threadIdx.y + SIDE * j;
#pragma unroll
        for (u32 i = 0; i < OWN; ++i) {
            u32 row = first_row + threadIdx.x + SIDE * i;
            if (row < factors.n_rows && column < factors.n_columns)
                into[(u64)column * factors.n_rows + row] = sums[i][j];
        }
    }
}

extern "C" __global__ void gemm_f32(Factors factors, float *out) { gemm<float>(factors, out); }

extern "C" __global__ void gemm_f64(Factors factors, double *out) { gemm<double>(factors, out); }

// out[v] = the sum of in[part][v] over the parts in their order, in double; one thread a value.
template <typename T>
__device__ __forceinline__ void sum_products(const T *in, u32 n_parts, u32 n_values, T *out)
{
    u32 v = blockIdx.x * blockDim.x + threadIdx.x;
    if (v >= n_values) return;
    double sum = 0.0;
    for (u32 part = 0; part < n_parts; ++part) sum += (double)in[(u64)part * n_values + v];
    out[v] = (T)sum;
}

extern "C" __global__ void sum_products_f32(const float *in, u32 n_parts, u32 n_values, float *out)
{
    sum_products<float>(in, n_parts, n_values, out);
}

extern "C" __global__ void sum_products_f64(const double *in, u32 n_parts, u32 n_values,
                                            double *out)
{
    sum_products<double>(in, n_parts, n_values, out);
}
