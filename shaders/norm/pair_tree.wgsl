// Part of kernels that add two vec4 over the 64 invocations of a workgroup, always in one order.
var<workgroup> sh_first: array<vec4<f32>, 64>;
var<workgroup> sh_second: array<vec4<f32>, 64>;

// Leaves both sums in element 0, for invocation 0 alone.
fn add_pairs(local: u32, first: vec4<f32>, second: vec4<f32>) {
    sh_first[local] = first;
    sh_second[local] = second;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
            sh_first[local] += sh_first[local + half];
            sh_second[local] += sh_second[local + half];
        }
    }
}
