// One axis of a separable Gaussian over a vec4 field, zeros outside.
//
//   target[i] = sum_k tap[|k|] source[i + k], |k| <= floor(4 sigma + 0.5)   (scipy.ndimage's
//   gaussian_filter, mode constant; golden README "gaussian_filter")
//
// Bindings: 1 draws [sample] Record (flags, radius), 2 taps [sample][axis][TAPS] f32 (normalised,
// 0 beyond the radius, the last one always 0), 3 source and 4 target [D*H*W] vec4 (w unused).
// One invocation: RUN = 8 neighbouring outputs of a line along the axis. It walks over the
// window in steps of 8 values, each loaded once (three components) and used for 8 outputs with
// 15 taps of which each step needs the ones from |p - o|. Lanes are neighbouring lines, so reads
// along D and H are contiguous over a subgroup. Only what lies inside the volume is visited.
// Leaves at once where the sample has no elastic part.
// FLOPs: 6 (2 radius + 8) a voxel at most; bytes: 32 a voxel.
// Runs on every device. Software devices pay about ten instructions a loaded float, which is why
// a load serves 8 outputs and only three of the four components are read.

{% include "warp/record" %}

struct Params {
    sample: u32,
    axis: u32,
    length: u32,
    stride: u32,
    lines: u32,
    total: u32,
    pad0: u32,
    pad1: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> draws: array<Record>;
@group(0) @binding(2) var<storage, read> taps: array<f32>;
@group(0) @binding(3) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> target_: array<vec4<f32>>;

fn tap(base: u32, k: i32) -> f32 {
    return taps[base + min(u32(abs(k)), {{ TAPS - 1 }}u)];
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.y * 32768u + group.x) * 64u + lane;
    if ((draws[params.sample].flags & 2u) == 0u || id >= params.total) {
        return;
    }
    let radius = draws[params.sample].radius[params.axis];
    let line = id % params.lines;
    let o = (id / params.lines) * 8u;
    let stride = params.stride;
    let n = params.length;
    let base = (line / stride) * (stride * n) + line % stride;
    let table = (params.sample * 3u + params.axis) * {{ TAPS }}u;
    let first = (max(o, radius) - radius) & 0xFFFFFFF8u;
    let end = min(o + 8u + radius, n);
{%- for j in range(8) %}
    var a{{ j }} = vec3<f32>(0.0);
{%- endfor %}
    for (var p = first; p < end; p += 8u) {
        let k = i32(p) - i32(o);
{%- for j in range(15) %}
        let w{{ j }} = tap(table, k + {{ j - 7 }});
{%- endfor %}
{%- for i in range(8) %}
        let x{{ i }} = select(vec3<f32>(0.0), source[base + min(p + {{ i }}u, n - 1u) * stride].xyz, p + {{ i }}u < n);
{%- for j in range(8) %}
        a{{ j }} += x{{ i }} * w{{ i - j + 7 }};
{%- endfor %}
{%- endfor %}
    }
{%- for j in range(8) %}
    if (o + {{ j }}u < n) {
        target_[base + (o + {{ j }}u) * stride] = vec4<f32>(a{{ j }}, 0.0);
    }
{%- endfor %}
}
