// Squared distances of rows to centroids, the nearest of them, and sums of the rows of each.
//
// Differences are squared and added in the order of the columns, as on the CPU, so that distances,
// and with them ties, are the same bits. What the codes of a row add to a distance is looked up in a table that
// the host makes: (n_centroids, n_entries), of which a code column has one more than its width, for
// codes without an indicator.
//
// Roofline: four centroids share each value that is read; at 2 operations a value and centroid the
// kernel is bound by memory below some ten centroids and by arithmetic in double above.

#include "design.cuh"

struct Centroids {
    const double *dense;      // (n_centroids, n_dense)
    const double *table;      // (n_centroids, n_entries)
    const u32 *offset;        // for each code column: its begin in the table
    const u32 *width;         // for each code column: its width
    u32 n_centroids;
    u32 n_code_columns;
    u32 n_entries;
    u32 reserved;
};

#define GROUP 4

// Distances of a row to `GROUP` centroids from `first`; those beyond the last repeat it.
template <typename T>
__device__ __forceinline__ void group_distances(const Design &design, const Centroids &centroids,
                                                u32 first, u32 row, double *distances)
{
    u32 last = centroids.n_centroids - 1;
    u64 c0 = min(first, last), c1 = min(first + 1, last);
    u64 c2 = min(first + 2, last), c3 = min(first + 3, last);
    double d0 = 0.0, d1 = 0.0, d2 = 0.0, d3 = 0.0;
    for (u32 column = 0; column < centroids.n_code_columns; ++column) {
        u32 code = design.codes[(u64)column * design.n_rows + row];
        u64 entry = centroids.offset[column] + min(code, centroids.width[column]);
        d0 += centroids.table[c0 * centroids.n_entries + entry];
        d1 += centroids.table[c1 * centroids.n_entries + entry];
        d2 += centroids.table[c2 * centroids.n_entries + entry];
        d3 += centroids.table[c3 * centroids.n_entries + entry];
    }
    double s0 = 0.0, s1 = 0.0, s2 = 0.0, s3 = 0.0;
    for (u32 column = 0; column < design.n_dense; ++column) {
        double x = dense_value<T>(design, column, row);
        double e0 = x - centroids.dense[c0 * design.n_dense + column];
        double e1 = x - centroids.dense[c1 * design.n_dense + column];
        double e2 = x - centroids.dense[c2 * design.n_dense + column];
        double e3 = x - centroids.dense[c3 * design.n_dense + column];
        s0 = fma(e0, e0, s0);
        s1 = fma(e1, e1, s1);
        s2 = fma(e2, e2, s2);
        s3 = fma(e3, e3, s3);
    }
    distances[0] = d0 + s0;
    distances[1] = d1 + s1;
    distances[2] = d2 + s2;
    distances[3] = d3 + s3;
}

// The nearest centroid of each row; the lower number at ties, and 0 where no distance is a number.
template <typename T>
__device__ __forceinline__ void nearest(const Design &design, const Centroids &centroids, u32 *ids,
                                        double *squared_distances)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= design.n_rows) return;
    double best = 1.0 / 0.0;
    u32 id = 0;
    for (u32 first = 0; first < centroids.n_centroids; first += GROUP) {
        double distances[GROUP];
        group_distances<T>(design, centroids, first, row, distances);
#pragma unroll
        for (u32 lane = 0; lane < GROUP; ++lane) {
            bool is_nearer = distances[lane] < best && first + lane < centroids.n_centroids;
            best = is_nearer ? distances[lane] : best;
            id = is_nearer ? first + lane : id;
        }
    }
    ids[row] = id;
    squared_distances[row] = best;
}

extern "C" __global__ void nearest_f32(Design design, Centroids centroids, u32 *ids,
                                       double *squared_distances)
{
    nearest<float>(design, centroids, ids, squared_distances);
}

extern "C" __global__ void nearest_f64(Design design, Centroids centroids, u32 *ids,
                                       double *squared_distances)
{
    nearest<double>(design, centroids, ids, squared_distances);
}

// The nearest centroids of each row: ids and distances (n_neighbours, n_rows), the nearest first, the lower number at
// ties; what is no number counts as infinity. A thread keeps the sorted list of a row, into which few distances
// come after the first ones. There are at least n_neighbours centroids, and at least one neighbour.
template <typename T>
__device__ __forceinline__ void neighbours(const Design &design, const Centroids &centroids,
                                           u32 n_neighbours, u32 *ids, double *squared_distances)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= design.n_rows) return;
    u64 step = design.n_rows;
    double *list = squared_distances + row;
    u32 *list_ids = ids + row;
    u32 n_kept = 0;
    double farthest = 1.0 / 0.0;
    for (u32 first = 0; first < centroids.n_centroids; first += GROUP) {
        double distances[GROUP];
        group_distances<T>(design, centroids, first, row, distances);
#pragma unroll
        for (u32 lane = 0; lane < GROUP; ++lane) {
            double distance = distances[lane] == distances[lane] ? distances[lane] : 1.0 / 0.0;
            bool is_full = n_kept == n_neighbours;
            if (first + lane >= centroids.n_centroids || (is_full && distance >= farthest)) continue;
            u32 at = is_full ? n_kept - 1 : n_kept;
            // Those at the same distance came earlier and stay before.
            while (at > 0 && list[(at - 1) * step] > distance) {
                list[at * step] = list[(at - 1) * step];
                list_ids[at * step] = list_ids[(at - 1) * step];
                --at;
            }
            list[at * step] = distance;
            list_ids[at * step] = first + lane;
            n_kept += is_full ? 0 : 1;
            if (n_kept == n_neighbours) farthest = list[(n_kept - 1) * step];
        }
    }
}

extern "C" __global__ void neighbours_f32(Design design, Centroids centroids, u32 n_neighbours,
                                          u32 *ids, double *squared_distances)
{
    neighbours<float>(design, centroids, n_neighbours, ids, squared_distances);
}

extern "C" __global__ void neighbours_f64(Design design, Centroids centroids, u32 n_neighbours,
                                          u32 *ids, double *squared_distances)
{
    neighbours<double>(design, centroids, n_neighbours, ids, squared_distances);
}

// All distances, (n_rows, n_centroids) row-major; a thread has a row and `GROUP` centroids.
template <typename T>
__device__ __forceinline__ void distances(const Design &design, const Centroids &centroids,
                                          double *out)
{
    u32 row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= design.n_rows) return;
    u32 first = blockIdx.y * GROUP;
    double found[GROUP];
    group_distances<T>(design, centroids, first, row, found);
#pragma unroll
    for (u32 lane = 0; lane < GROUP; ++lane)
        if (first + lane < centroids.n_centroids)
            out[(u64)row * centroids.n_centroids + first + lane] = found[lane];
}

extern "C" __global__ void distances_f32(Design design, Centroids centroids, double *out)
{
    distances<float>(design, centroids, out);
}

extern "C" __global__ void distances_f64(Design design, Centroids centroids, double *out)
{
    distances<double>(design, centroids, out);
}

// out[chunk][column][centroid] = sum of weight * column over the chunk's rows of that centroid, with
// ones behind the columns, then the squared distances. Each thread adds its rows to sums of its own in shared memory, (threads,
// n_centroids), which are then added in the order of the threads.
template <typename T>
__device__ __forceinline__ void cluster_sums(const Design &design, const u32 *ids,
                                             const double *squared_distances,
                                             const double *weights, u32 n_centroids,
                                             u32 rows_per_chunk, double *out)
{
    extern __shared__ double own[];
    u32 column = blockIdx.y;
    u32 first = blockIdx.x * rows_per_chunk;
    u32 end = min(first + rows_per_chunk, design.n_rows);
    double *mine = own + threadIdx.x * n_centroids;
    for (u32 id = 0; id < n_centroids; ++id) mine[id] = 0.0;
    for (u32 row = first + threadIdx.x; row < end; row += blockDim.x) {
        double x = column < design.n_columns    ? value<T>(design, column, row)
                   : column == design.n_columns ? 1.0
                                                : squared_distances[row];
        mine[ids[row]] += (weights ? weights[row] : 1.0) * x;
    }
    __syncthreads();
    double *into = out + ((u64)blockIdx.x * gridDim.y + column) * n_centroids;
    for (u32 id = threadIdx.x; id < n_centroids; id += blockDim.x) {
        double sum = 0.0;
        for (u32 thread = 0; thread < blockDim.x; ++thread) sum += own[thread * n_centroids + id];
        into[id] = sum;
    }
}

extern "C" __global__ void cluster_sums_f32(Design design, const u32 *ids,
                                            const double *squared_distances, const double *weights,
                                            u32 n_centroids, u32 rows_per_chunk, double *out)
{
    cluster_sums<float>(design, ids, squared_distances, weights, n_centroids, rows_per_chunk, out);
}

extern "C" __global__ void cluster_sums_f64(Design design, const u32 *ids,
                                            const double *squared_distances, const double *weights,
                                            u32 n_centroids, u32 rows_per_chunk, double *out)
{
    cluster_sums<double>(design, ids, squared_distances, weights, n_centroids, rows_per_chunk, out);
}
