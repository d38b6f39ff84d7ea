// out[0] = sqrt(sum of partial), out[1] = 1 where that is not finite (on the exponent's bits).
// One workgroup of 64 invocations, fixed order.
struct Params { count: u32, pad0: u32, pad1: u32, pad2: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> partial: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
var<workgroup> sh_sum: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) local: u32) {
    var sum = 0.0;
    for (var i = local; i < p.count; i += 64u) {
        sum += partial[i];
    }
    sh_sum[local] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sh_sum[local] += sh_sum[local + half];
        }
    }
    if local == 0u {
        out[0] = sqrt(sh_sum[0]);
        out[1] = select(0.0, 1.0, (bitcast<u32>(sh_sum[0]) & 0x7f800000u) == 0x7f800000u);
    }
}
