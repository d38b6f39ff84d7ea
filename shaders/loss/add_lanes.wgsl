// Part of kernels that add {{ SLOTS }} vec4 over the 64 invocations of a workgroup, always in one order.
//
// Two rounds: {{ 48 // SLOTS }} invocations share the values of a slot, then one adds their sums. Halving takes
// six rounds, and on a software device idle invocations cost as much in each as busy ones.
{% set PARTS = 48 // SLOTS %}
var<workgroup> sh_sum: array<vec4<f32>, {{ 64 * SLOTS }}>;

// Each invocation has put its values at sh_sum[slot * 64 + local]. Returns the sum of slot `local`, 0 where
// there is none.
fn add_lanes(local: u32) -> vec4<f32> {
    let slot = local / {{ PARTS }}u;
    let at = slot * 64u + local % {{ PARTS }}u;
    workgroupBarrier();
    if slot < {{ SLOTS }}u {
        var part = sh_sum[at];
{% for i in range(1, 64 // PARTS) %}
        part += sh_sum[at + {{ i * PARTS }}u];
{% endfor %}
        sh_sum[at] = part;
    }
    workgroupBarrier();
    var sum = vec4(0.0);
    if local < {{ SLOTS }}u {
{% for i in range(PARTS) %}
        sum += sh_sum[local * 64u + {{ i }}u];
{% endfor %}
    }
    return sum;
}
