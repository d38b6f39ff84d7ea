// Partial sums of squares of a gradient: one f32 a workgroup of 64 invocations x 32 vec4.
struct Params { vec4s: u32, out_first: u32, groups: u32, pad: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;
var<workgroup> sh_sum: array<f32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.groups {
        return;
    }
    var sum = 0.0;
    for (var k = 0u; k < 32u; k++) {
        let i = number * 2048u + k * 64u + local;
        if i < p.vec4s {
            sum += dot(gradient[i], gradient[i]);
        }
    }
    sh_sum[local] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sh_sum[local] += sh_sum[local + half];
        }
    }
    if local == 0u {
        partial[p.out_first + number] = sh_sum[0];
    }
}
