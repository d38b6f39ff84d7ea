// Everything spatial of one sample's draw in one resampling of its source.
//
//   m = o, or P - 1 - o on mirrored axes
//   c = (m - (P - 1)/2 + alpha disp(m)) M + centre     (row vector; M = R scale; case coordinates)
//   image: trilinear, or (CUBIC) by the cubic B-spline whose coefficients `prefilter` made, mirrored
//   at the ends of the box; label: (NEAREST) that of the nearest voxel, or the label whose trilinear indicator is largest, ties to the nearest
//   neighbour's label if it is among the tied, else to the smallest. A coordinate < 0 or > n - 1 of
//   the case, or one that needs a voxel beyond the uploaded box, gives 0 without blending
//   (scipy.ndimage.map_coordinates mode constant; batchgenerators augment_spatial; golden README).
// Where the flag `spatial` is off, voxels are copied (and mirrored) bit for bit.
//
// Bindings: 1 draws [sample] Record, 2 image source [C][box] f32, 3 label source [box] u32,
// 4 displacement [D*H*W] vec4 (read only where params.displaced and the draw is elastic),
// 5 image target, channel-blocked vec4, 6 label target [N][D*H*W] u32, 7 (CUBIC) coefficients
// [C][box] f32.
// One invocation: RUN voxels along H at one (d, w), so that the record is loaded once for all of
// them; lanes are neighbours along W. No axis's labels are looped over: of at most 8 corners only
// equal labels are summed.
// FLOPs: 60 + 16 C a voxel (CUBIC: 60 + 170 C), and 130 for the label; bytes: 4 (8 C + 8) read at
// most (CUBIC: 4 (64 C + 8)), 16 blocks + 4 written a voxel. Runs on every device.
// Lost: one voxel an invocation (on a software device the record's 36 floats then cost more than the
// 16 corners).

{% include "warp/record" %}

struct Params {
    shape: vec3<u32>,
    sample: u32,
    runs: u32,
    total: u32,
    displaced: u32,
    image_base: u32,
    label_base: u32,
    pad0: u32,
    pad1: u32,
    pad2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> draws: array<Record>;
@group(0) @binding(2) var<storage, read> image: array<f32>;
@group(0) @binding(3) var<storage, read> labels: array<u32>;
@group(0) @binding(4) var<storage, read> displacement: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> image_out: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> labels_out: array<u32>;
{%- if CUBIC %}
@group(0) @binding(7) var<storage, read> coefficients: array<f32>;

/// An index beyond the ends of 0..n, mirrored about the end voxels.
fn mirrored(i: vec3<i32>, n: vec3<i32>) -> vec3<i32> {
    let low = abs(i);
    return max(min(low, 2 * (n - 1) - low), vec3<i32>(0));
}

/// Weights of the four coefficients about a fraction `f` of a voxel.
fn spline(f: f32) -> vec4<f32> {
    let g = 1.0 - f;
    let outer = vec2<f32>(g * g * g, f * f * f) / 6.0;
    let second = 2.0 / 3.0 - f * f + 0.5 * f * f * f;
    return vec4<f32>(outer.x, second, 1.0 - outer.x - second - outer.y, outer.y);
}
{%- endif %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.y * 32768u + group.x) * 64u + lane;
    if (id >= params.total) {
        return;
    }
    let shape = params.shape;
    let w = id % shape.z;
    let rest = id / shape.z;
    let h_first = (rest % params.runs) * {{ RUN }}u;
    let d = rest / params.runs;
    let flags = draws[params.sample].flags;
    let spatial = (flags & 1u) != 0u;
    let elastic = (flags & 2u) != 0u && params.displaced != 0u;
    let mirror = vec3<bool>((flags & 16u) != 0u, (flags & 32u) != 0u, (flags & 64u) != 0u);
    let extent = vec3<i32>(draws[params.sample].box_shape);
    let start = draws[params.sample].box_start;
    let last = vec3<f32>(draws[params.sample].case_shape - vec3<i32>(1));
    let centre = draws[params.sample].centre;
    let alpha = draws[params.sample].alpha;
    let row0 = draws[params.sample].row0;
    let row1 = draws[params.sample].row1;
    let row2 = draws[params.sample].row2;
    let volume = u32(extent.x) * u32(extent.y) * u32(extent.z);
    let voxels = shape.x * shape.y * shape.z;
    let half = (vec3<f32>(shape) - 1.0) * 0.5;
    for (var h = h_first; h < min(h_first + {{ RUN }}u, shape.y); h++) {
        let v = (d * shape.y + h) * shape.z + w;
        let o = vec3<u32>(d, h, w);
        let m = select(o, shape - 1u - o, mirror);
        var c = vec3<f32>(m) - half;
        if (elastic) {
            c += alpha * displacement[(m.x * shape.y + m.y) * shape.z + m.z].xyz;
        }
        if (spatial) {
            c = c.x * row0 + c.y * row1 + c.z * row2;
        }
        c += centre;
        let floored = floor(c);
        let f = c - floored;
        var inside = all(c >= vec3<f32>(0.0)) && all(c <= last);
        let low = vec3<i32>(floored) - start;
        let step = select(vec3<i32>(1), vec3<i32>(0), f == vec3<f32>(0.0));
        inside = inside && all(low >= vec3<i32>(0)) && all(low + step < extent);
{%- for b in range(BLOCKS) %}
        var value{{ b }} = vec4<f32>(0.0);
{%- endfor %}
        var label = 0u;
        if (inside) {
            let p = vec3<u32>(low);
            let row = u32(extent.z);
            let plane = u32(extent.y) * row;
            let i0 = p.x * plane + p.y * row + p.z;
            if (spatial) {
                let sx = u32(step.x) * plane;
                let sy = u32(step.y) * row;
                let sz = u32(step.z);
                let i1 = i0 + sz;
                let i2 = i0 + sy;
                let i3 = i2 + sz;
                let i4 = i0 + sx;
                let i5 = i4 + sz;
                let i6 = i4 + sy;
                let i7 = i6 + sz;
                let g = 1.0 - f;
                let w0 = g.x * g.y * g.z;
                let w1 = g.x * g.y * f.z;
                let w2 = g.x * f.y * g.z;
                let w3 = g.x * f.y * f.z;
                let w4 = f.x * g.y * g.z;
                let w5 = f.x * g.y * f.z;
                let w6 = f.x * f.y * g.z;
                let w7 = f.x * f.y * f.z;
{%- if CUBIC %}
                var weight_x = spline(f.x);
                var weight_y = spline(f.y);
                let weight_z = spline(f.z);
                let z0 = u32(mirrored(low - 1, extent).z);
                let z1 = p.z;
                let z2 = u32(mirrored(low + 1, extent).z);
                let z3 = u32(mirrored(low + 2, extent).z);
{%- for c in range(CHANNELS) %}
                var sum{{ c }} = 0.0;
{%- endfor %}
                // Not written out: sixteen copies of the body take a compiler seconds.
                for (var i = 0; i < 4; i++) {
                    let at_x = u32(mirrored(low + i - 1, extent).x) * plane;
                    for (var j = 0; j < 4; j++) {
                        let line = at_x + u32(mirrored(low + j - 1, extent).y) * row;
                        let weight = weight_x[i] * weight_y[j];
{%- for c in range(CHANNELS) %}
                        sum{{ c }} += weight * dot(weight_z, vec4<f32>({% for k in range(4) %}{% if k %}, {% endif %}coefficients[{{ c }}u * volume + line + z{{ k }}]{% endfor %}));
{%- endfor %}
                    }
                }
{%- for c in range(CHANNELS) %}
                value{{ c // 4 }}[{{ c % 4 }}] = sum{{ c }};
{%- endfor %}
{%- else %}
{%- for c in range(CHANNELS) %}
                {
                    let at = {{ c }}u * volume;
                    value{{ c // 4 }}[{{ c % 4 }}] = {% for k in range(8) %}{% if k %} + {% endif %}w{{ k }} * image[at + i{{ k }}]{% endfor %};
                }
{%- endfor %}
{%- endif %}
{%- if NEAREST %}
                let near = i0 + select(0u, sx, f.x >= 0.5) + select(0u, sy, f.y >= 0.5) + select(0u, sz, f.z >= 0.5);
                label = labels[near];
{%- else %}
{%- for k in range(8) %}
                let l{{ k }} = labels[i{{ k }}];
{%- endfor %}
                var best = -1.0;
{%- for k in range(8) %}
                let s{{ k }} = {% for j in range(8) %}{% if j %} + {% endif %}select(0.0, w{{ j }}, l{{ j }} == l{{ k }}){% endfor %};
                if (s{{ k }} > best || (s{{ k }} == best && l{{ k }} < label)) {
                    best = s{{ k }};
                    label = l{{ k }};
                }
{%- endfor %}
                let nearest = select(0u, 4u, f.x >= 0.5) + select(0u, 2u, f.y >= 0.5) + select(0u, 1u, f.z >= 0.5);
{%- for k in range(8) %}
                if (nearest == {{ k }}u && s{{ k }} == best) {
                    label = l{{ k }};
                }
{%- endfor %}
{%- endif %}
            } else {
{%- for c in range(CHANNELS) %}
                value{{ c // 4 }}[{{ c % 4 }}] = image[{{ c }}u * volume + i0];
{%- endfor %}
                label = labels[i0];
            }
        }
{%- for b in range(BLOCKS) %}
        image_out[params.image_base + {{ b }}u * voxels + v] = value{{ b }};
{%- endfor %}
        labels_out[params.label_base + v] = label;
    }
}
