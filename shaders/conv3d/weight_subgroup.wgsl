// Partial weight gradients: for one chunk of output points,
//   dw[o][c][t] = sum over points p of dy[o][p] x[c][p * step + t + offset].
//
// x, dy: rgba32float textures, texel (w, h, (n * stride + base + block) * D + d).
// partial: f32, [chunk][co_tile][ci_block][td][th][tw][c 4][t T][o 4].
// A workgroup is one subgroup: {{ T }} output blocks x one input block x one (td, th) x all tw, over
// one chunk; lanes are points, {{ UNROLL }} a lane a turn so that an accumulator carried round the
// loop pays its blend once for so many multiply-adds; lanes are added at the end.
//
// FLOPs: 2 * 16 T * KW a point and workgroup, from T + KW texture loads. For CPU adapters.
struct Params {
    q_d: u32, q_h: u32, q_w: u32, points: u32,
    x_d: u32, x_base: u32, x_stride: u32, ci_blocks: u32,
    y_d: u32, y_base: u32, y_stride: u32, co_tiles: u32,
    step_d: i32, step_h: i32, step_w: i32, kd: u32,
    offset_d: i32, offset_h: i32, offset_w: i32, kh: u32,
    chunk_points: u32, groups: u32, chunk_first: u32, co_blocks: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var x: texture_3d<f32>;
@group(0) @binding(2) var dy: texture_3d<f32>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;

@compute @workgroup_size({{ LANES }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.groups {
        return;
    }
    let th = i32(number % p.kh);
    let td = i32(number / p.kh % p.kd);
    let ci = number / (p.kh * p.kd) % p.ci_blocks;
    let tile = number / (p.kh * p.kd * p.ci_blocks) % p.co_tiles;
    let chunk = number / (p.kh * p.kd * p.ci_blocks * p.co_tiles);
    let begin = chunk * p.chunk_points;
    let end = min(begin + p.chunk_points, p.points);
{% for tw in range(KW) %}{% for c in range(4) %}{% for t in range(T) %}
    var a{{ tw }}_{{ c }}_{{ t }} = vec4(0.0);
{% endfor %}{% endfor %}{% endfor %}
    for (var base = begin; base < end; base += {{ LANES * UNROLL }}u) {
{% for u in range(UNROLL) %}
        {
            let point = base + {{ u * LANES }}u + lane;
            let valid = point < end;
            let safe = min(point, p.points - 1u);
            let w = i32(safe % p.q_w);
            let h = i32(safe / p.q_w % p.q_h);
            let d = i32(safe / (p.q_w * p.q_h) % p.q_d);
            let n = safe / (p.q_w * p.q_h * p.q_d);
            let xd = d * p.step_d + p.offset_d + td;
            let xh = h * p.step_h + p.offset_h + th;
            let xw = w * p.step_w + p.offset_w;
            let inside = valid && xd >= 0 && xd < i32(p.x_d);
            let xz = select(-1, i32(p.x_base + n * p.x_stride + ci) * i32(p.x_d) + xd, inside);
{% for t in range(T) %}
            // Outside the chunk or the last block: texel -1 is 0.
            let g{{ t }} = textureLoad(dy, vec3(w, h, select(-1, i32(p.y_base + n * p.y_stride + tile * {{ T }}u + {{ t }}u) * i32(p.y_d) + d, valid && tile * {{ T }}u + {{ t }}u < p.co_blocks)), 0);
{% endfor %}
{% for tw in range(KW) %}
            let x{{ tw }} = textureLoad(x, vec3(xw + {{ tw }}, xh, xz), 0);
{% for c in range(4) %}{% for t in range(T) %}
            a{{ tw }}_{{ c }}_{{ t }} = fma(g{{ t }}, vec4(x{{ tw }}[{{ c }}]), a{{ tw }}_{{ c }}_{{ t }});
{% endfor %}{% endfor %}
{% endfor %}
        }
{% endfor %}
    }
    let out = (p.chunk_first * p.co_tiles * p.ci_blocks * p.kd * p.kh + number) * {{ KW * 4 * T }}u;
{% for tw in range(KW) %}{% for c in range(4) %}{% for t in range(T) %}
    {
        let sum = subgroupAdd(a{{ tw }}_{{ c }}_{{ t }});
        if lane == 0u {
            partial[out + {{ (tw * 4 + c) * T + t }}u] = sum;
        }
    }
{% endfor %}{% endfor %}{% endfor %}
}
