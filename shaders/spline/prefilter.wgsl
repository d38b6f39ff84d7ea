// Cubic B-spline coefficients of a sample's source along one axis, in place after the first:
// a causal and an anticausal recursion with the pole z = sqrt(3) - 2 and gain 6, mirrored at the
// ends of the box without repeating them (Unser 1999, box 2; scipy.ndimage.spline_filter1d, mode
// mirror, which map_coordinates uses for mode constant).
//
//   c+[0] = (sum_{i<n-1} z^i s[i] + z^(n-1) s[n-1] + sum_{0<i<n-1} z^(2n-2-i) s[i]) / (1 - z^(2n-2))
//   c+[i] = s[i] + z c+[i-1];  c[n-1] = z / (z^2 - 1) (c+[n-1] + z c+[n-2]);
//   c[i] = z (c[i+1] - c+[i]),  all times 6
//
// Terms of the first sum beyond the 25th are below 1e-14 and left out. Does nothing where the draw
// has no spatial part: its voxels are copied from the source.
//
// Bindings: 1 draws [sample] Record, 2 source [C][box] f32, read along the first axis alone,
// 3 coefficients [C][box] f32. One invocation: a line of one channel.
// FLOPs: 6 a voxel; bytes: 16 a voxel. Runs on every device.

{% include "warp/record" %}

struct Params {
    sample: u32,
    channels: u32,
    pad0: u32,
    pad1: u32,
}

const POLE: f32 = -0.2679491924311227;
const GAIN: f32 = 6.0;
const TERMS: u32 = 25u;

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> draws: array<Record>;
@group(0) @binding(2) var<storage, read> image: array<f32>;
@group(0) @binding(3) var<storage, read_write> coefficients: array<f32>;

fn sample_at(index: u32) -> f32 {
{%- if AXIS == 0 %}
    return GAIN * image[index];
{%- else %}
    return GAIN * coefficients[index];
{%- endif %}
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let id = (group.y * 32768u + group.x) * 64u + lane;
    let extent = draws[params.sample].box_shape;
    let n = extent[{{ AXIS }}];
    let volume = extent.x * extent.y * extent.z;
    let lines = volume / n;
    if ((draws[params.sample].flags & 1u) == 0u || id >= lines * params.channels) {
        return;
    }
    let line = id % lines;
{%- if AXIS == 0 %}
    let step = extent.y * extent.z;
    let within = line;
{%- elif AXIS == 1 %}
    let step = extent.z;
    let within = line / extent.z * (extent.y * extent.z) + line % extent.z;
{%- else %}
    let step = 1u;
    let within = line * extent.z;
{%- endif %}
    let first = id / lines * volume + within;
    let last = first + (n - 1u) * step;
    if (n == 1u) {
{%- if AXIS == 0 %}
        coefficients[first] = image[first];
{%- endif %}
        return;
    }
    // z^(n-1): its magnitude by a power of 2, its sign by whether n - 1 is odd.
    let end = exp2(f32(n - 1u) * log2(-POLE)) * select(1.0, -1.0, (n & 1u) == 0u);
    var sum = sample_at(first) + end * sample_at(last);
    var power = POLE;
    var mirrored = end * end / POLE;
    for (var i = 1u; i < min(n - 1u, TERMS); i++) {
        sum += (power + mirrored) * sample_at(first + i * step);
        power *= POLE;
        mirrored /= POLE;
    }
    var before = sum / (1.0 - end * end);
    var own = before;
    coefficients[first] = own;
    for (var i = 1u; i < n; i++) {
        let at = first + i * step;
        before = own;
        own = sample_at(at) + POLE * before;
        coefficients[at] = own;
    }
    own = POLE / (POLE * POLE - 1.0) * (own + POLE * before);
    coefficients[last] = own;
    for (var i = n - 1u; i > 0u; i--) {
        let at = first + (i - 1u) * step;
        own = POLE * (own - coefficients[at]);
        coefficients[at] = own;
    }
}
