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
// Where SUMS > 0 it sums for a norm what it stores (conv3d/gather_sums).
//
// FLOPs: 2 * 4 ci_blocks * 32 * taps a point; a row of taps costs (WIDTH - 1) SW + KW + 8 KW vec4 loads
// from workgroup memory for 8 KW WIDTH vec4 multiply-adds. Halo of a 3x3x3 brick 4x4x8: 360 vec4 for
// 128 points.
{% include "conv3d/gather_store" %}

@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> weights: array<vec4<f32>>;
{% if NORM == 1 or SUMS == 2 %}
@group(0) @binding(5) var<storage, read> on_load: array<vec4<f32>>;
{% include "norm/on_load" %}
{% endif %}
{% set XD = (BD - 1) * SD + KD %}{% set XH = (BH - 1) * SH + KH %}{% set XW = (BW - 1) * SW + KW %}
{% set THREADS = BD * BH * BW // WIDTH * 4 %}
// The halo brick, and after the last block the sums of every four points.
var<workgroup> sh_x: array<vec4<f32>, {{ [XD * XH * XW, 1, BD * BH * BW // 4 * 16 if SUMS > 0 else 1] | max }}>;
var<workgroup> sh_w: array<vec4<f32>, {{ [KH * KW * 32, 1] | max }}>;

// How many of four neighbours along w from point q (w, h, d) on lie within the output.
fn quad_size(q: vec3<u32>) -> u32 {
    return select(0u, min(p.q_w - q.x, 4u), q.x < p.q_w && q.y < p.q_h && q.z < p.q_d);
}
{% if SUMS > 0 %}
{% include "conv3d/gather_sums" %}
{% endif %}

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
    let q0 = vec3(q0_w, q0_h, q0_d);
    let first = first_of(corner);
{% if SUMS > 0 %}
    // The last brick must have been read by all.
    workgroupBarrier();
{% endif %}
{% for quad in range(WIDTH // 4) %}
    {
        let spot = vec3(b_w + {{ quad * 4 }}u, b_h, b_d);
        let q = q0 + spot;
        let size = quad_size(q);
{% if SUMS > 0 %}
        // Four vec4 of this invocation's own.
        let own = quad_place(spot, co * 2u);
{% endif %}
{% for t in range(2) %}
        let block_{{ t }} = tile * 8u + co * 2u + {{ t }}u;
        let size_{{ t }} = select(0u, size, block_{{ t }} < p.co_blocks);
        let b_{{ t }} = bias_of(block_{{ t }});
{% for i in range(4) %}
        var v{{ i }}_{{ t }} = a{{ quad * 4 + i }}_{{ t }} + b_{{ t }};
{% endfor %}
{% if SUMS == 2 %}
        let norm_{{ t }} = on_load_of(sums_row(n, min(block_{{ t }}, p.co_blocks - 1u)));
        var sums_{{ t }} = Sums(vec4(0.0), vec4(0.0));
        // Through memory, as loops over registers are written out, which takes some compilers long.
{% for i in range(4) %}
        sh_x[own + {{ i }}u] = v{{ i }}_{{ t }};
{% endfor %}
        for (var i = 0u; i < size_{{ t }}; i++) {
            let at = q + vec3(i, 0u, 0u);
            let da = store(n, first, at, block_{{ t }}, sh_x[own + i]);
            sums_{{ t }} = add_sums(sums_{{ t }}, norm_{{ t }}, n, first, at, block_{{ t }}, da);
        }
{% else %}
{% for i in range(4) %}
        if {{ i }}u < size_{{ t }} {
            v{{ i }}_{{ t }} = store(n, first, q + vec3({{ i }}u, 0u, 0u), block_{{ t }}, v{{ i }}_{{ t }});
        }
{% endfor %}
{% endif %}
{% if SUMS == 1 %}
        let sums_{{ t }} = sums_of(size_{{ t }}, v0_{{ t }}, v1_{{ t }}, v2_{{ t }}, v3_{{ t }});
{% endif %}
{% endfor %}
{% if SUMS > 0 %}
{% for t in range(2) %}
        sh_x[own + {{ t * 2 }}u] = sums_{{ t }}.first;
        sh_x[own + {{ t * 2 + 1 }}u] = sums_{{ t }}.second;
{% endfor %}
{% endif %}
    }
{% endfor %}
{% if SUMS > 0 %}
    workgroupBarrier();
    sum_chunks(local, n, q0, tile);
{% endif %}
}
