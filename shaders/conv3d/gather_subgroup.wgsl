// y[q * out_step + out_offset] = bias + sum over taps t and input channels of
//   w[t] x[q * in_step + t + in_offset], zero outside x.
//
// One kernel for the forward convolution, its input gradient (flipped taps; for stride 2 one
// dispatch a parity class of the input voxel), the transposed convolution (a point scatters to as
// many outputs as there are taps) and its input gradient: only the packed taps and the steps differ.
//
// x: rgba32float texture, texel (w, h, ((n * x_stride + x_base + block) * D + d)), 4 channels.
// weights: rgba32float texture, packed by conv3d/pack with taps in the order d, w, h; vec4 i at
// (i % 1024, i / 1024). y: channel blocks, buffer or texture.
// A workgroup is one subgroup (lanes 2^shift along w, the rest along h); a lane has {{ ROWS }}
// neighbours along h, times {{ T }} channel blocks. A row of x that several taps need is loaded once;
// a lane holds one vec4 of weights that all take by broadcast.
// Workgroups: x the outputs that a point scatters to, then tiles of w and h; y samples and d; z
// channel tiles.
//
// WINOGRAD = 1: three taps along h at stride 1 by F(2,3) (Winograd 1980; Lavin, Gray 2016), two
// outputs of 4 products in place of 6; conv3d/pack turns the three taps into the four factors.
//
// FLOPs: 2 * 4 ci_blocks * 4 T * taps a point, of which F(2,3) spares a third. For CPU adapters
// (llvmpipe), where
// - a read-only storage texture costs 60 instructions a load of 8 vec4 (a sampled texture, whose
//   level is looked up a lane, 190; a buffer about 300);
// - an accumulator costs a load and a store each time it is touched: hence matrix products, 16
//   multiply-adds a touch;
// - a division costs one a lane: hence workgroup numbers in three axes;
// - a loop that is left at its beginning goes through its body once more with all lanes masked, and so does each that is
//   nested in it: hence one loop, left at its end.
{% include "conv3d/gather_store" %}

@group(0) @binding(1) var x: texture_storage_3d<rgba32float, read>;
@group(0) @binding(2) var weights: texture_storage_3d<rgba32float, read>;

@compute @workgroup_size({{ LANES }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let lanes_h = {{ LANES }}u >> p.shift;
    // Neighbouring workgroups write what lies side by side.
    let corner = group.x % p.corners;
    let place = group.x / p.corners;
    let q_w = (place % p.tiles_w << p.shift) + (lane & ((1u << p.shift) - 1u));
    let q_h = (place / p.tiles_w * lanes_h + (lane >> p.shift)) * {{ ROWS }}u;
    let q_d = group.y % p.q_d;
    let n = group.y / p.q_d;
    let tile = group.z;
    let w = i32(q_w) * p.in_step_w + p.in_offset_w;
    let h = i32(q_h) * p.in_step_h + p.in_offset_h;
    let d = i32(q_d) * p.in_step_d + p.in_offset_d;
    let x_block = p.x_base + n * p.x_stride;
    // Taps outside x along d are left out; along h and w they read 0.
    let td_first = max(-d, 0);
    let td_end = min(i32(p.x_d) - d, i32(p.kd));
{% for r in range(ROWS * 2 if WINOGRAD == 1 else ROWS) %}{% for t in range(T) %}
    var a{{ r }}_{{ t }} = vec4(0.0);
{% endfor %}{% endfor %}
    var ci = 0u;
    var td = td_first;
    var tw = 0u;
    // One loop over (ci, td, tw), left at its end.
    var turns = p.ci_blocks * u32(max(td_end - td_first, 0)) * p.kw;
    if turns > 0u {
        loop {
            let z = i32((x_block + ci) * p.x_d) + d + td;
            let plane = (tile * p.ci_blocks + ci) * p.kd + u32(td);
{% if WINOGRAD == 1 %}
{% for i in range(ROWS + 2) %}
            let r{{ i }} = textureLoad(x, vec3(w + i32(tw), h + {{ i }}, z));
{% endfor %}
{% for i in range(0, ROWS, 2) %}
            let x{{ 2 * i }} = r{{ i }} - r{{ i + 2 }};
            let x{{ 2 * i + 1 }} = r{{ i + 1 }} + r{{ i + 2 }};
            let x{{ 2 * i + 2 }} = r{{ i + 2 }} - r{{ i + 1 }};
            let x{{ 2 * i + 3 }} = r{{ i + 1 }} - r{{ i + 3 }};
{% endfor %}
{% else %}
{% for r in range(ROWS) %}{% for th in range(KH) %}{% if r == 0 or th + STEP >= KH %}
            let x{{ r * STEP + th }} = textureLoad(x, vec3(w + i32(tw), h + {{ r }} * p.in_step_h + {{ th }}, z));
{% endif %}{% endfor %}{% endfor %}
{% endif %}
            let weight = ((plane * p.kw + tw) * p.corners + corner) * {{ KH * 4 * T }}u + lane;
{% for j in range((KH * 4 * T + LANES - 1) // LANES) %}
            let k{{ j }} = textureLoad(weights, vec3((weight + {{ j * LANES }}u) % 1024u, (weight + {{ j * LANES }}u) / 1024u, 0u));
{% endfor %}
{% for th in range(KH) %}{% for t in range(T) %}
            {
                let m = mat4x4(
{% for c in range(4) %}{% set i = (th * 4 + c) * T + t %}
                    subgroupBroadcast(k{{ i // LANES }}, {{ i % LANES }}u),
{% endfor %}
                );
{% if WINOGRAD == 1 %}{% for i in range(0, ROWS, 2) %}
                a{{ 2 * i + th }}_{{ t }} += m * x{{ 2 * i + th }};
{% endfor %}{% else %}{% for r in range(ROWS) %}
                a{{ r }}_{{ t }} += m * x{{ r * STEP + th }};
{% endfor %}{% endif %}
            }
{% endfor %}{% endfor %}
            continuing {
                tw++;
                let next_d = tw == p.kw;
                tw = select(tw, 0u, next_d);
                td += i32(next_d);
                let next_c = td == td_end;
                td = select(td, td_first, next_c);
                ci += u32(next_c);
                turns--;
                break if turns == 0u;
            }
        }
    }
    if q_w >= p.q_w {
        return;
    }
    let first = first_of(corner);
{% for t in range(T) %}
    if tile * {{ T }}u + {{ t }}u < p.co_blocks {
        let block = tile * {{ T }}u + {{ t }}u;
        let b = bias_of(block);
{% for r in range(ROWS) %}
        if q_h + {{ r }}u < p.q_h {
{% if WINOGRAD == 0 %}
            let value = a{{ r }}_{{ t }};
{% elif r % 2 == 0 %}
            let value = a{{ 2 * r }}_{{ t }} + a{{ 2 * r + 1 }}_{{ t }} + a{{ 2 * r + 2 }}_{{ t }};
{% else %}
            let value = a{{ 2 * r - 1 }}_{{ t }} - a{{ 2 * r }}_{{ t }} - a{{ 2 * r + 1 }}_{{ t }};
{% endif %}
            _ = store(n, first, vec3(q_w, q_h + {{ r }}u, q_d), block, value + b);
        }
{% endfor %}
    }
{% endfor %}
}
