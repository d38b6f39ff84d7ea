// y[q * out_step + out_offset] = bias + sum over taps t and input channels of
//   w[t] x[q * in_step + t + in_offset], zero outside x.
//
// The same sum as conv3d/gather_subgroup, for real GPUs: operands in buffers, a halo brick of
// one input block and the weights of one plane of taps in workgroup memory.
//
// x: vec4 (((x_base + n * x_stride + block) * D + d) * H + h) * W + w; where NORM = 1 it is normalised
// and activated on its way (norm/on_load), what lies outside staying 0. weights: packed by conv3d/pack
// with T = 8. A workgroup computes a brick of {{ BD }} x {{ BH }} x {{ BW }} output points and
// 32 output channels; an invocation WIDTH neighbours along w x 8 channels, in 2 WIDTH vec4 accumulators.
//
// FLOPs: 2 * 4 ci_blocks * 32 * taps a point; a row of taps costs (WIDTH - 1) SW + KW + 8 KW vec4 loads
// from workgroup memory for 8 KW WIDTH vec4 multiply-adds. Halo of a 3x3x3 brick 4x4x8: 360 vec4 for
// 128 points.
{% include "conv3d/gather_store" %}

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
{% if NORM == 1 %}
@group(0) @binding(5) var<storage, read> on_load: array<vec4<f32>>;
{% include "norm/on_load" %}
{% endif %}
{% set XD = (BD - 1) * SD + KD %}{% set XH = (BH - 1) * SH + KH %}{% set XW = (BW - 1) * SW + KW %}
{% set THREADS = BD * BH * BW // WIDTH * 4 %}
var<workgroup> sh_x: array<vec4<f32>, {{ [XD * XH * XW, 1] | max }}>;
var<workgroup> sh_w: array<vec4<f32>, {{ [KH * KW * 32, 1] | max }}>;

@compute @workgroup_size({{ THREADS }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let every = group.y * 32768u + group.x;
    if every >= p.groups {
        return;
    }
    // Neighbouring workgroups write what lies side by side.
    let corner = every % p.corners;
    let number = every / p.corners;
    let bricks_w = (p.q_w + {{ BW - 1 }}u) / {{ BW }}u;
    let bricks_h = (p.q_h + {{ BH - 1 }}u) / {{ BH }}u;
    let bricks_d = (p.q_d + {{ BD - 1 }}u) / {{ BD }}u;
    let q0_w = number % bricks_w * {{ BW }}u;
    let q0_h = number / bricks_w % bricks_h * {{ BH }}u;
    let q0_d = number / (bricks_w * bricks_h) % bricks_d * {{ BD }}u;
    let n = number / (bricks_w * bricks_h * bricks_d);
    let tile = group.z;
    let co = local % 4u;
    let spot = local / 4u;
    let b_w = spot % {{ BW // WIDTH }}u * {{ WIDTH }}u;
    let b_h = spot / {{ BW // WIDTH }}u % {{ BH }}u;
    let b_d = spot / {{ BW // WIDTH * BH }}u;
    let x0_d = i32(q0_d) * p.in_step_d + p.in_offset_d;
    let x0_h = i32(q0_h) * p.in_step_h + p.in_offset_h;
    let x0_w = i32(q0_w) * p.in_step_w + p.in_offset_w;
{% for v in range(WIDTH) %}{% for t in range(2) %}
    var a{{ v }}_{{ t }} = vec4(0.0);
{% endfor %}{% endfor %}
    for (var ci = 0u; ci < p.ci_blocks; ci++) {
        // The brick of the block before must have been read by all.
        workgroupBarrier();
        let plane = (p.x_base + n * p.x_stride + ci) * p.x_d;
{% if NORM == 1 %}
        let norm = on_load_of(p.on_load_base + n * p.on_load_stride + ci);
{% endif %}
        for (var i = local; i < {{ XD * XH * XW }}u; i += {{ THREADS }}u) {
            let w = x0_w + i32(i % {{ XW }}u);
            let h = x0_h + i32(i / {{ XW }}u % {{ XH }}u);
            let d = x0_d + i32(i / {{ XW * XH }}u);
            var value = vec4(0.0);
            if w >= 0 && w < i32(p.x_w) && h >= 0 && h < i32(p.x_h) && d >= 0 && d < i32(p.x_d) {
                value = x[((plane + u32(d)) * p.x_h + u32(h)) * p.x_w + u32(w)];
{% if NORM == 1 %}
                value = activation(norm, value);
{% endif %}
            }
            sh_x[i] = value;
        }
        for (var td = 0u; td < {{ KD }}u; td++) {
            // The weights of the plane before must have been used by all.
            workgroupBarrier();
            let packed = (((tile * p.ci_blocks + ci) * {{ KD }}u + td) * p.corners + corner) * {{ KH * KW * 32 }}u;
            for (var i = local; i < {{ KH * KW * 32 }}u; i += {{ THREADS }}u) {
                sh_w[i] = weights[packed + i];
            }
            workgroupBarrier();
            let row = ((b_d * {{ SD }}u + td) * {{ XH }}u + b_h * {{ SH }}u) * {{ XW }}u + b_w * {{ SW }}u;
{% for th in range(KH) %}
            {
{% for i in range((WIDTH - 1) * SW + KW) %}
                let x{{ i }} = sh_x[row + {{ th * XW + i }}u];
{% endfor %}
{% for tw in range(KW) %}{% for c in range(4) %}{% for t in range(2) %}
                let m{{ tw }}_{{ c }}_{{ t }} = sh_w[{{ ((th * KW + tw) * 4 + c) * 8 + t }}u + co * 2u];
{% for v in range(WIDTH) %}
                a{{ v }}_{{ t }} = fma(m{{ tw }}_{{ c }}_{{ t }}, vec4(x{{ v * SW + tw }}[{{ c }}]), a{{ v }}_{{ t }});
{% endfor %}
{% endfor %}{% endfor %}{% endfor %}
            }
{% endfor %}
        }
    }
    let qd = q0_d + b_d;
    let qh = q0_h + b_h;
    if qd >= p.q_d || qh >= p.q_h {
        return;
    }
    let first = first_of(corner);
{% for t in range(2) %}
    {
        let block = tile * 8u + co * 2u + {{ t }}u;
        let b = bias_of(block);
{% for v in range(WIDTH) %}
        if block < p.co_blocks && q0_w + b_w + {{ v }}u < p.q_w {
            store(n, first, vec3(q0_w + b_w + {{ v }}u, qh, qd), block, a{{ v }}_{{ t }} + b);
        }
{% endfor %}
    }
{% endfor %}
}
