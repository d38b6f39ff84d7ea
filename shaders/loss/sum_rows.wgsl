// sums[n][s] = sum over rows of partial[n][row][s], vec4, in a fixed order.
//
// A workgroup: one (n, s); 64 invocations stride over the rows, then a tree. For every device.
struct Params { rows: u32, slots: u32, pad0: u32, pad1: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> sums: array<vec4<f32>>;
var<workgroup> sh_sum: array<vec4<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let n = group.y;
    var sum = vec4(0.0);
    for (var row = local; row < p.rows; row += 64u) {
        sum += partial[(n * p.rows + row) * p.slots + group.x];
    }
    sh_sum[local] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sh_sum[local] += sh_sum[local + half];
        }
    }
    if local == 0u {
        sums[n * p.slots + group.x] = sh_sum[0];
    }
}
