// The design matrix of a block of rows on the device, as gpu/src/device.rs describes it: dense columns
// shifted and scaled, then indicators of code columns. The host's mirror is gpu/src/cuda/layout.rs.
//
// Arithmetic on samples is in double whatever their type, so that partials agree with the CPU's. Nothing is
// fused unless it says fma, and no sum depends on the order of threads.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

// Threads of a block that reduces; a power of two.
#define REDUCERS 128

struct Design {
    const void *dense;        // (n_dense, n_rows): float or double
    const u32 *codes;         // (n_code_columns, n_rows)
    const double *shift;      // n_dense
    const double *scale;      // n_dense
    const u32 *code_column;   // for each indicator: its column of codes
    const u32 *code_value;    // for each indicator: the code that sets it
    u32 n_rows;
    u32 n_dense;
    u32 n_columns;            // dense ones and indicators
    u32 reserved;
};

template <typename T>
__device__ __forceinline__ double dense_value(const Design &design, u32 column, u32 row)
{
    const T *dense = (const T *)design.dense;
    double x = (double)dense[(u64)column * design.n_rows + row];
    return (x - design.shift[column]) * design.scale[column];
}

template <typename T>
__device__ __forceinline__ double value(const Design &design, u32 column, u32 row)
{
    if (column < design.n_dense) return dense_value<T>(design, column, row);
    u32 indicator = column - design.n_dense;
    u32 code = design.codes[(u64)design.code_column[indicator] * design.n_rows + row];
    return code == design.code_value[indicator] ? 1.0 : 0.0;
}

// Adds the numbers of all threads by halves; thread 0 has the sum.
__device__ __forceinline__ double block_sum(double mine, double *scratch)
{
    u32 thread = threadIdx.x;
    scratch[thread] = mine;
    __syncthreads();
    for (u32 half = REDUCERS / 2; half > 0; half /= 2) {
        if (thread < half) scratch[thread] += scratch[thread + half];
        __syncthreads();
    }
    return scratch[0];
}
