// Partial weight gradients: for one chunk of output planes,
//   dw[o][c][t] = sum over points p of dy[o][p] x[c][p * step + t + offset].
//
// x, dy: rgba32float textures, texel (w, h, (n * stride + base + block) * D + d).
// partial: vec4 over output channels, [chunk][co_tile][ci_tile][td][tw][th][c 4 C][t T].
// A workgroup is one subgroup: {{ T }} output blocks x {{ C }} input blocks x one (td, tw) x all th, over
// one chunk of planes (n, d). Lanes are points (2^shift along w, the rest along h), {{ ROWS }} rows a
// lane and turn, so that an accumulator is loaded and stored once for several multiply-adds and a
// row of x serves all th; lanes are added at the end. Points outside read dy = 0; blocks beyond the
// last are left out by conv3d/weight_sum.
// Workgroups: x (td, tw), y ci_tile, z rows: co_tiles of chunk after chunk, from row_first on.
//
// WINOGRAD = 1: three taps along h at stride 1 by F(3,2), the transpose of conv3d/gather_subgroup's
// F(2,3): of two rows 4 products in place of 6, summed as such and turned into taps at the end.
//
// FLOPs: 2 * 16 T C KH a point and workgroup, of which F(3,2) spares a third. For CPU adapters; see
// conv3d/gather_subgroup for what costs there.
struct Params {
    q_d: u32, q_h: u32, q_w: u32, planes: u32,
    x_d: u32, x_base: u32, x_stride: u32, ci_tiles: u32,
    y_d: u32, y_base: u32, y_stride: u32, co_tiles: u32,
    step_d: i32, step_h: i32, step_w: i32, kd: u32,
    offset_d: i32, offset_h: i32, offset_w: i32, kw: u32,
    chunk_planes: u32, row_first: u32, shift: u32, pad: u32,
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

// Planes before number `plane` whose d is from first_d to end_d - 1.
fn inside(plane: u32, first_d: i32, end_d: i32) -> u32 {
    let d = clamp(i32(plane % p.q_d), first_d, end_d);
    return plane / p.q_d * u32(end_d - first_d) + u32(d - first_d);
}

@compute @workgroup_size({{ LANES }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let td = i32(group.x / p.kw);
    let tw = i32(group.x % p.kw);
    let ci = group.y * {{ C }}u;
    let row = p.row_first + group.z;
    let tile = row % p.co_tiles;
    let chunk = row / p.co_tiles;
    let lanes_h = {{ LANES }}u >> p.shift;
    let lane_w = i32(lane & ((1u << p.shift) - 1u));
    let lane_h = i32(lane >> p.shift);
{% set SUMS = 4 if WINOGRAD == 1 else KH %}
{% for th in range(SUMS) %}{% for c in range(4 * C) %}{% for t in range(T) %}
    var a{{ th }}_{{ c }}_{{ t }} = vec4(0.0);
{% endfor %}{% endfor %}{% endfor %}
    // Planes first_d to end_d - 1 of dy meet a plane inside x. The others add nothing, and their texels are not
    // read: texel -1 of a texture of depth 1 is not 0 on every device, as texels outside along w and h are.
    let shift_d = p.offset_d + td;
    let first_d = (max(-shift_d, 0) + p.step_d - 1) / p.step_d;
    let end_d = max(min(i32(p.q_d), (i32(p.x_d) - shift_d + p.step_d - 1) / p.step_d), first_d);
    let begin = chunk * p.chunk_planes;
    let planes = inside(min(begin + p.chunk_planes, p.planes), first_d, end_d) - inside(begin, first_d, end_d);
    let step_h = i32(lanes_h * {{ ROWS }}u);
    let step_w = 1 << p.shift;
    var turns = planes * ((p.q_h + u32(step_h) - 1u) / u32(step_h)) * ((p.q_w + u32(step_w) - 1u) >> p.shift);
    var n = begin / p.q_d;
    var d = max(i32(begin % p.q_d), first_d);
    if d >= end_d {
        n++;
        d = first_d;
    }
    // Planes of x and dy from one to the next, and over those outside to the next sample's first.
    let over_x = i32(p.x_stride * p.x_d) - (end_d - first_d) * p.step_d;
    let over_dy = i32(p.y_stride * p.y_d) - (end_d - first_d);
    var x_plane = i32((p.x_base + n * p.x_stride + ci) * p.x_d) + d * p.step_d + shift_d;
    var dy_plane = i32((p.y_base + n * p.y_stride + tile * {{ T }}u) * p.y_d) + d;
    var h = lane_h * {{ ROWS }};
    var w = lane_w;
    let end_h = h + (i32(p.q_h) + step_h - 1) / step_h * step_h;
    let end_w = w + ((i32(p.q_w) + step_w - 1) >> p.shift << p.shift);
    if turns > 0u {
        loop {
{% for c in range(C) %}
            let xz{{ c }} = x_plane + i32({{ c }}u * p.x_d);
{% endfor %}
{% for t in range(T) %}
            let yz{{ t }} = dy_plane + i32({{ t }}u * p.y_d);
{% endfor %}
            let xh = h * p.step_h + p.offset_h;
            let xw = w * p.step_w + p.offset_w + tw;
{% for r in range(ROWS) %}{% for t in range(T) %}
            let g{{ r }}_{{ t }} = textureLoad(dy, vec3(w, h + {{ r }}, yz{{ t }}));
{% endfor %}{% endfor %}
{% for c in range(C) %}{% for r in range(ROWS) %}{% for th in range(KH) %}{% if r == 0 or th + STEP >= KH %}
            let x{{ r * STEP + th }}_{{ c }} = textureLoad(x, vec3(xw, xh + {{ r }} * p.step_h + {{ th }}, xz{{ c }}));
{% endif %}{% endfor %}{% endfor %}{% endfor %}
{% if WINOGRAD == 1 %}
{% for r in range(0, ROWS, 2) %}
{% for t in range(T) %}
            let s{{ r }}_0_{{ t }} = g{{ r }}_{{ t }};
            let s{{ r }}_1_{{ t }} = g{{ r }}_{{ t }} + g{{ r + 1 }}_{{ t }};
            let s{{ r }}_2_{{ t }} = g{{ r }}_{{ t }} - g{{ r + 1 }}_{{ t }};
            let s{{ r }}_3_{{ t }} = g{{ r + 1 }}_{{ t }};
{% endfor %}
{% for c in range(C) %}
            let u{{ r }}_0_{{ c }} = x{{ r }}_{{ c }} - x{{ r + 2 }}_{{ c }};
            let u{{ r }}_1_{{ c }} = x{{ r + 1 }}_{{ c }} + x{{ r + 2 }}_{{ c }};
            let u{{ r }}_2_{{ c }} = x{{ r + 2 }}_{{ c }} - x{{ r + 1 }}_{{ c }};
            let u{{ r }}_3_{{ c }} = x{{ r + 3 }}_{{ c }} - x{{ r + 1 }}_{{ c }};
{% endfor %}
{% endfor %}
{% for k in range(4) %}{% for c in range(4 * C) %}{% for t in range(T) %}
            a{{ k }}_{{ c }}_{{ t }} += s0_{{ k }}_{{ t }} * u0_{{ k }}_{{ c // 4 }}[{{ c % 4 }}]{% for r in range(2, ROWS, 2) %}
                + s{{ r }}_{{ k }}_{{ t }} * u{{ r }}_{{ k }}_{{ c // 4 }}[{{ c % 4 }}]{% endfor %};
{% endfor %}{% endfor %}{% endfor %}
{% else %}
{% for th in range(KH) %}{% for c in range(4 * C) %}{% for t in range(T) %}
            a{{ th }}_{{ c }}_{{ t }} += g0_{{ t }} * x{{ th }}_{{ c // 4 }}[{{ c % 4 }}]{% for r in range(1, ROWS) %}
                + g{{ r }}_{{ t }} * x{{ r * STEP + th }}_{{ c // 4 }}[{{ c % 4 }}]{% endfor %};
{% endfor %}{% endfor %}{% endfor %}
{% endif %}
            continuing {
                w += step_w;
                let next_h = w == end_w;
                w = select(w, lane_w, next_h);
                h += select(0, step_h, next_h);
                let next_d = h == end_h;
                h = select(h, lane_h * {{ ROWS }}, next_d);
                d += i32(next_d);
                let next_n = d == end_d;
                d = select(d, first_d, next_n);
                x_plane += select(0, p.step_d, next_d) + select(0, over_x, next_n);
                dy_plane += i32(next_d) + select(0, over_dy, next_n);
                turns--;
                break if turns == 0u;
            }
        }
    }
    let tiles = ((chunk * p.co_tiles + tile) * p.ci_tiles + group.y) * p.kd * p.kw + group.x;
    let out = tiles * {{ KH * 4 * C * T }}u;
{% for th in range(KH) %}{% for c in range(4 * C) %}{% for t in range(T) %}
    {
{% if WINOGRAD == 0 %}
        let sum = over_lanes(a{{ th }}_{{ c }}_{{ t }});
{% else %}
        let mixed = 0.5 * (a1_{{ c }}_{{ t }} {{ "-" if th == 1 else "+" }} a2_{{ c }}_{{ t }});
        let sum = over_lanes(mixed{% if th != 1 %} + a{{ 0 if th == 0 else 3 }}_{{ c }}_{{ t }}{% endif %});
{% endif %}
        if lane == 0u {
            partial[out + {{ (th * 4 * C + c) * T + t }}u] = sum;
        }
    }
{% endfor %}{% endfor %}{% endfor %}
}
