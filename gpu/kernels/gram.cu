// Weighted sums of products of all pairs of columns.
//
// The columns are those of the design, then ones, then the response, so that one kernel gives the
// moments, the sums, the products with the response and the matrix. A block computes one tile of
// 32 x 32 products over one chunk of rows; each thread keeps four sums in registers and adds rows in their
// order. The host adds the chunks with `sum_chunks`. NaN or an infinity in a row also reaches the products with
// its indicators that are 0, which the CPU leaves out.
//
// Roofline: per tile and row 64 values are read through the cache and 1024 fused multiply-adds done,
// so the kernel is bound by arithmetic in double; see docs/gpu.md.

#include "design.cuh"

#define TILE 32

template <typename T>
__device__ __forceinline__ double extended(const Design &design, const double *response,
                                           u32 column, u32 row)
{
    if (column < design.n_columns) return value<T>(design, column, row);
    if (column == design.n_columns) return 1.0;
    return response ? response[row] : 0.0;
}

template <typename T>
__device__ __forceinline__ void gram(const Design &design, const double *response,
                                     const double *weights, u32 rows_per_chunk, double *out)
{
    __shared__ double left[TILE][TILE + 1];
    __shared__ double right[TILE][TILE + 1];
    u32 tile_row = 0;
    while ((tile_row + 1) * (tile_row + 2) / 2 <= blockIdx.y) ++tile_row;
    u32 tile_column = blockIdx.y - tile_row * (tile_row + 1) / 2;
    u32 first = blockIdx.x * rows_per_chunk;
    u32 end = min(first + rows_per_chunk, design.n_rows);
    u32 n_extended = design.n_columns + 2;
    u32 thread = threadIdx.y * 16 + threadIdx.x;
    double s00 = 0.0, s01 = 0.0, s10 = 0.0, s11 = 0.0;
    for (u32 start = first; start < end; start += TILE) {
        u32 row = start + thread % TILE;
        for (u32 column = thread / TILE; column < TILE; column += 256 / TILE) {
            u32 i = tile_row * TILE + column, j = tile_column * TILE + column;
            double weight = row < end && weights ? weights[row] : 1.0;
            bool is_left = row < end && i < n_extended, is_right = row < end && j < n_extended;
            left[thread % TILE][column] =
                is_left ? weight * extended<T>(design, response, i, row) : 0.0;
            right[thread % TILE][column] =
                is_right ? extended<T>(design, response, j, row) : 0.0;
        }
        __syncthreads();
        for (u32 k = 0; k < TILE; ++k) {
            double a0 = left[k][threadIdx.y], a1 = left[k][threadIdx.y + 16];
            double b0 = right[k][threadIdx.x], b1 = right[k][threadIdx.x + 16];
            s00 = fma(a0, b0, s00);
            s01 = fma(a0, b1, s01);
            s10 = fma(a1, b0, s10);
            s11 = fma(a1, b1, s11);
        }
        __syncthreads();
    }
    double *tile = out + ((u64)blockIdx.x * gridDim.y + blockIdx.y) * TILE * TILE;
    tile[threadIdx.y * TILE + threadIdx.x] = s00;
    tile[threadIdx.y * TILE + threadIdx.x + 16] = s01;
    tile[(threadIdx.y + 16) * TILE + threadIdx.x] = s10;
    tile[(threadIdx.y + 16) * TILE + threadIdx.x + 16] = s11;
}

extern "C" __global__ void gram_f32(Design design, const double *response, const double *weights,
                                    u32 rows_per_chunk, double *out)
{
    gram<float>(design, response, weights, rows_per_chunk, out);
}

extern "C" __global__ void gram_f64(Design design, const double *response, const double *weights,
                                    u32 rows_per_chunk, double *out)
{
    gram<double>(design, response, weights, rows_per_chunk, out);
}

// out[v] += in[chunk][v] of each chunk in its order; one thread a value. Since `out` carries on, the sum is the
// same whether the rows come at once or in stretches of whole chunks.
extern "C" __global__ void sum_chunks(const double *in, u32 n_chunks, u32 n_values, double *out)
{
    u32 v = blockIdx.x * blockDim.x + threadIdx.x;
    if (v >= n_values) return;
    double sum = out[v];
    for (u32 chunk = 0; chunk < n_chunks; ++chunk) sum += in[(u64)chunk * n_values + v];
    out[v] = sum;
}
