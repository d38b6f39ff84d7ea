// Partial weight gradients: for one chunk of output planes,
//   dw[o][c][t] = sum over points p of dy[o][p] x[c][p * step + t + offset].
//
// x, dy: rgba32float textures, texel (w, h, (n * stride + base + block) * D + d).
// partial: vec4 over output channels, [chunk][co_tile][ci_tile][td][tw][th][c 4 C][t T].
// A workgroup is one subgroup: {{ T }} output blocks x {{ C }} input blocks x one (td, tw) x all th, over
// one chunk of planes (n, d). Lanes are points (2^shift along w, the rest along h), {{ ROWS }} rows a
// lane and turn, so that an accumulator is loaded and stored once for {{ ROWS }} multiply-adds and a
// row of x serves all th; lanes are added at the end. Points outside read dy = 0; blocks beyond the
// last are left out by conv3d/weight_sum.
// Workgroups: x (td, tw), y ci_tile, z (co_tile, chunk).
//
// FLOPs: 2 * 16 T C KH a point and workgroup. For CPU adapters; see conv3d/gather_subgroup for what
// costs there.
struct Params {
    q_d: u32, q_h: u32, q_w: u32, planes: u32,
    x_d: u32, x_base: u32, x_stride: u32, ci_tiles: u32,
    y_d: u32, y_base: u32, y_stride: u32, co_tiles: u32,
    step_d: i32, step_h: i32, step_w: i32, kd: u32,
    offset_d: i32, offset_h: i32, offset_w: i32, kw: u32,
    chunk_planes: u32, chunks: u32, shift: u32, pad: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var x: texture_storage_3d<rgba32float, read>;
@group(0) @binding(2) var dy: texture_storage_3d<rgba32float, read>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

fn over_lanes(value: vec4<f32>) -> vec4<f32> {
    var sum = value;
{% for k in [1, 2, 4, 8, 16] %}{% if k < LANES %}
    sum += subgroupShuffleXor(sum, {{ k }}u);
{% endif %}{% endfor %}
    return sum;
}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let td = i32(group.x / p.kw);
    let tw = i32(group.x % p.kw);
    let ci = group.y * {{ C }}u;
    let tile = group.z / p.chunks;
    let chunk = group.z % p.chunks;
    let lanes_h = {{ LANES }}u >> p.shift;
    let lane_w = i32(lane & ((1u << p.shift) - 1u));
    let lane_h = i32(lane >> p.shift);
    let row_step = i32(lanes_h) * p.step_h;
{% for th in range(KH) %}{% for c in range(4 * C) %}{% for t in range(T) %}
    var a{{ th }}_{{ c }}_{{ t }} = vec4(0.0);
{% endfor %}{% endfor %}{% endfor %}
    let end = min((chunk + 1u) * p.chunk_planes, p.planes);
    for (var plane = chunk * p.chunk_planes; plane < end; plane++) {
        let n = plane / p.q_d;
        let d = i32(plane % p.q_d);
        let x_d = d * p.step_d + p.offset_d + td;
        // A plane outside x adds nothing. Its texels are not read: texel -1 of a texture of depth 1 is
        // not 0 on every device, as texels outside along w and h are.
        if x_d < 0 || x_d >= i32(p.x_d) {
            continue;
        }
{% for c in range(C) %}
        let xz{{ c }} = i32((p.x_base + n * p.x_stride + ci + {{ c }}u) * p.x_d) + x_d;
{% endfor %}
{% for t in range(T) %}
        let yz{{ t }} = i32((p.y_base + n * p.y_stride + tile * {{ T }}u + {{ t }}u) * p.y_d) + d;
{% endfor %}
        for (var h0 = 0; h0 < i32(p.q_h); h0 += i32(lanes_h * {{ ROWS }}u)) {
            for (var w0 = 0; w0 < i32(p.q_w); w0 += 1 << p.shift) {
                let h = h0 + lane_h;
                let w = w0 + lane_w;
                let xh = h * p.step_h + p.offset_h;
                let xw = w * p.step_w + p.offset_w + tw;
{% for r in range(ROWS) %}{% for t in range(T) %}
                let g{{ r }}_{{ t }} = textureLoad(dy, vec3(w, h + {{ r }} * i32(lanes_h), yz{{ t }}));
{% endfor %}{% endfor %}
{% for c in range(C) %}{% for r in range(ROWS) %}{% for th in range(KH) %}{% if r == 0 or th + STEP >= KH %}
                let x{{ r * STEP + th }}_{{ c }} = textureLoad(x, vec3(xw, xh + {{ r }} * row_step + {{ th }}, xz{{ c }}));
{% endif %}{% endfor %}{% endfor %}{% endfor %}
{% for th in range(KH) %}{% for c in range(4 * C) %}{% for t in range(T) %}
                a{{ th }}_{{ c }}_{{ t }} += g0_{{ t }} * x{{ th }}_{{ c // 4 }}[{{ c % 4 }}]{% for r in range(1, ROWS) %}
                    + g{{ r }}_{{ t }} * x{{ r * STEP + th }}_{{ c // 4 }}[{{ c % 4 }}]{% endfor %};
{% endfor %}{% endfor %}{% endfor %}
            }
        }
    }
    let tiles = ((chunk * p.co_tiles + tile) * p.ci_tiles + group.y) * p.kd * p.kw + group.x;
    let out = tiles * {{ KH * 4 * C * T }}u;
{% for th in range(KH) %}{% for c in range(4 * C) %}{% for t in range(T) %}
    {
        let sum = over_lanes(a{{ th }}_{{ c }}_{{ t }});
        if lane == 0u {
            partial[out + {{ (th * 4 * C + c) * T + t }}u] = sum;
        }
    }
{% endfor %}{% endfor %}{% endfor %}
}
