// Partial weight gradients: for one chunk of bricks,
//   dw[o][c][t] = sum over points p of dy[n][o][p] x[n][c][p * step + t + offset].
//
// x, dy: channel blocks in buffers; where NORM_X or NORM_DY = 1 they are normalised and activated on
// their way (norm/on_load), what lies outside staying 0. partial: vec4 over output channels,
// [chunk][co_tile][ci_block][td][th][tw][c 4][t 4] (T = 4 output blocks a tile).
// A workgroup: 16 output channels x 4 input channels x one plane of taps, over a chunk of bricks of
// 1 x 8 x 8 points, whose dy and x lie in workgroup memory; an invocation owns one tap and one
// output block (4 x 4 values). FLOPs: 2 * 16 a point and invocation from 2 vec4 loads.
// For real GPUs.
struct Params {
    q_d: u32, q_h: u32, q_w: u32, bricks: u32,
    x_d: u32, x_base: u32, x_stride: u32, ci_blocks: u32,
    y_d: u32, y_base: u32, y_stride: u32, co_tiles: u32,
    x_h: u32, x_w: u32, samples: u32, kd: u32,
    offset_d: i32, offset_h: i32, offset_w: i32, step_d: i32,
    chunk_bricks: u32, groups: u32, row_first: u32, co_blocks: u32,
    on_load_base: u32, on_load_stride: u32, pad0: u32, pad1: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partial: array<vec4<f32>>;
{% if NORM_X == 1 or NORM_DY == 1 %}
@group(0) @binding(4) var<storage, read> on_load: array<vec4<f32>>;
{% include "norm/on_load" %}
{% endif %}
{% set XH = 7 * SH + KH %}{% set XW = 7 * SW + KW %}{% set THREADS = KH * KW * 4 %}
var<workgroup> sh_x: array<vec4<f32>, {{ XH * XW }}>;
var<workgroup> sh_dy: array<vec4<f32>, 256>;

@compute @workgroup_size({{ THREADS }})
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let number = group.y * 32768u + group.x;
    if number >= p.groups {
        return;
    }
    let td = i32(number % p.kd);
    let ci = number / p.kd % p.ci_blocks;
    let row = p.row_first + number / (p.kd * p.ci_blocks);
    let tile = row % p.co_tiles;
    let chunk = row / p.co_tiles;
    let block = local % 4u;
    let tap = local / 4u;
    let th = tap / {{ KW }}u;
    let tw = tap % {{ KW }}u;
    let bricks_w = (p.q_w + 7u) / 8u;
    let bricks_h = (p.q_h + 7u) / 8u;
    var a0 = vec4(0.0);
    var a1 = vec4(0.0);
    var a2 = vec4(0.0);
    var a3 = vec4(0.0);
    let end = min((chunk + 1u) * p.chunk_bricks, p.bricks);
    for (var brick = chunk * p.chunk_bricks; brick < end; brick++) {
        let q_w = brick % bricks_w * 8u;
        let q_h = brick / bricks_w % bricks_h * 8u;
        let q_d = brick / (bricks_w * bricks_h) % p.q_d;
        let n = brick / (bricks_w * bricks_h * p.q_d);
        let d = i32(q_d) * p.step_d + p.offset_d + td;
{% if NORM_X == 1 %}
        let norm = on_load_of(p.on_load_base + n * p.on_load_stride + ci);
{% endif %}
        // The brick before must have been used by all.
        workgroupBarrier();
        for (var i = local; i < {{ XH * XW }}u; i += {{ THREADS }}u) {
            let h = i32(q_h * {{ SH }}u + i / {{ XW }}u) + p.offset_h;
            let w = i32(q_w * {{ SW }}u + i % {{ XW }}u) + p.offset_w;
            var value = vec4(0.0);
            if d >= 0 && d < i32(p.x_d) && h >= 0 && h < i32(p.x_h) && w >= 0 && w < i32(p.x_w) {
                let z = (p.x_base + n * p.x_stride + ci) * p.x_d + u32(d);
                value = x[(z * p.x_h + u32(h)) * p.x_w + u32(w)];
{% if NORM_X == 1 %}
                value = activation(norm, value);
{% endif %}
            }
            sh_x[i] = value;
        }
        for (var i = local; i < 256u; i += {{ THREADS }}u) {
            let b = tile * 4u + i / 64u;
            let h = q_h + i / 8u % 8u;
            let w = q_w + i % 8u;
            var value = vec4(0.0);
            if b < p.co_blocks && h < p.q_h && w < p.q_w {
                let z = (p.y_base + n * p.y_stride + b) * p.y_d + q_d;
                value = dy[(z * p.q_h + h) * p.q_w + w];
{% if NORM_DY == 1 %}
                value = activation(on_load_of(p.on_load_base + n * p.on_load_stride + b), value);
{% endif %}
            }
            sh_dy[i] = value;
        }
        workgroupBarrier();
        for (var h = 0u; h < 8u; h++) {
            for (var w = 0u; w < 8u; w++) {
                let g = sh_dy[block * 64u + h * 8u + w];
                let v = sh_x[(h * {{ SH }}u + th) * {{ XW }}u + w * {{ SW }}u + tw];
                a0 = fma(g, vec4(v.x), a0);
                a1 = fma(g, vec4(v.y), a1);
                a2 = fma(g, vec4(v.z), a2);
                a3 = fma(g, vec4(v.w), a3);
            }
        }
    }
    let first = (p.row_first * p.ci_blocks * p.kd + number) * {{ KH * KW * 16 }}u + tap * 16u + block;
    partial[first] = a0;
    partial[first + 4u] = a1;
    partial[first + 8u] = a2;
    partial[first + 12u] = a3;
}
