// y[q * out_step + out_offset] = bias + sum over taps t and input channels of
//   w[t] x[q * in_step + t + in_offset], zero outside x.
//
// One kernel for the forward convolution, its input gradient (flipped taps; for stride 2 one
// dispatch a parity class of the input voxel), the transposed convolution (one dispatch a tap)
// and its input gradient: only the packed taps and the steps differ.
//
// x: rgba32float texture, texel (w, h, ((n * x_stride + x_base + block) * D + d)), 4 channels.
// weights: rgba32float texture, packed by conv3d/pack, vec4 i at (i % 1024, i / 1024).
// y: channel blocks, buffer or texture.
// A workgroup is one subgroup: {{ ROWS }} rows of {{ LANES }} consecutive output points, a lane
// each, times {{ T }} channel blocks; a lane holds one vec4 of weights that all take by broadcast.
//
// FLOPs: 2 * 4 ci_blocks * 4 T * taps a point. Texture loads: ROWS * KH * KW / (16 T ROWS KH KW)
// a multiply-add. For CPU adapters: there a texture load costs a fifth of a buffer load, and a
// broadcast is one shuffle. Lost there: weights from a buffer (28 to 46 GFLOP/s against 55),
// workgroup memory (3 to 15).
{% include "conv3d/gather_store" %}

@group(0) @binding(1) var x: texture_3d<f32>;
@group(0) @binding(2) var weights: texture_3d<f32>;

@compute @workgroup_size({{ LANES }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.groups {
        return;
    }
    let first = number * {{ LANES * ROWS }}u + lane;
    let tile = group.z;
{% for r in range(ROWS) %}
    let point{{ r }} = first + {{ r * LANES }}u;
    let safe{{ r }} = min(point{{ r }}, p.points - 1u);
    let w{{ r }} = i32(safe{{ r }} % p.q_w) * p.in_step_w + p.in_offset_w;
    let h{{ r }} = i32(safe{{ r }} / p.q_w % p.q_h) * p.in_step_h + p.in_offset_h;
    let d{{ r }} = i32(safe{{ r }} / (p.q_w * p.q_h) % p.q_d) * p.in_step_d + p.in_offset_d;
    let block{{ r }} = p.x_base + safe{{ r }} / (p.q_w * p.q_h * p.q_d) * p.x_stride;
{% for t in range(T) %}
    var a{{ r }}_{{ t }} = vec4(0.0);
{% endfor %}
{% endfor %}
    var weight = tile * p.ci_blocks * p.kd * {{ KH * KW * 4 * T }}u + lane;
    for (var ci = 0u; ci < p.ci_blocks; ci++) {
        for (var td = 0; td < i32(p.kd); td++) {
{% for r in range(ROWS) %}
            let inside{{ r }} = d{{ r }} + td >= 0 && d{{ r }} + td < i32(p.x_d);
            // A tap outside along d reads texel -1, which is 0 as outside along w and h.
            let z{{ r }} = select(-1, i32(block{{ r }} + ci) * i32(p.x_d) + d{{ r }} + td, inside{{ r }});
{% endfor %}
{% for th in range(KH) %}
            {
{% for j in range((KW * 4 * T + LANES - 1) // LANES) %}
                let at{{ j }} = weight + {{ th * KW * 4 * T + j * LANES }}u;
                let k{{ j }} = textureLoad(weights, vec3(i32(at{{ j }} % 1024u), i32(at{{ j }} / 1024u), 0), 0);
{% endfor %}
{% for tw in range(KW) %}
                {
{% for r in range(ROWS) %}
                    let x{{ r }} = textureLoad(x, vec3(w{{ r }} + {{ tw }}, h{{ r }} + {{ th }}, z{{ r }}), 0);
{% endfor %}
{% for c in range(4) %}
{% for t in range(T) %}
{% set m = tw * 4 * T + c * T + t %}
                    let m{{ c }}_{{ t }} = subgroupBroadcast(k{{ m // LANES }}, {{ m % LANES }}u);
{% for r in range(ROWS) %}
                    a{{ r }}_{{ t }} = fma(m{{ c }}_{{ t }}, vec4(x{{ r }}[{{ c }}]), a{{ r }}_{{ t }});
{% endfor %}
{% endfor %}
{% endfor %}
                }
{% endfor %}
            }
{% endfor %}
            weight += {{ KH * KW * 4 * T }}u;
        }
    }
{% for t in range(T) %}
    {
        let block = tile * {{ T }}u + {{ t }}u;
        let b = bias_of(block);
{% for r in range(ROWS) %}
        store(point{{ r }}, block, a{{ r }}_{{ t }} + b);
{% endfor %}
    }
{% endfor %}
}
