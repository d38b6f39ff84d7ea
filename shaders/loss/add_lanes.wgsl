// Part of kernels that add {{ SLOTS }} vec4 over the 64 invocations of a workgroup, always in one order.
var<workgroup> sh_sum: array<vec4<f32>, {{ 64 * SLOTS }}>;

// Each invocation has put its values at sh_sum[slot * 64 + local]; leaves the sums at sh_sum[slot * 64].
fn add_lanes(local: u32) {
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if local < half {
{% for s in range(SLOTS) %}
            sh_sum[{{ s * 64 }}u + local] += sh_sum[{{ s * 64 }}u + local + half];
{% endfor %}
        }
    }
    workgroupBarrier();
}
