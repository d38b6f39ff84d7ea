// Adam with L2 in the gradient and amsgrad (Kingma and Ba 2015; Reddi et al. 2018), as torch.optim:
// g = scale grad + wd p; m = 0.9 m + 0.1 g; v = 0.999 v + 0.001 g^2; vmax = max(vmax, v);
// p -= lr / (1 - 0.9^t) m / (sqrt(vmax) / sqrt(1 - 0.999^t) + 1e-8).
// scale = min(1, clip / (norm + 1e-6)); a non-finite norm changes nothing.
//
// hyper: [lr / (1 - 0.9^t), wd, 1 / sqrt(1 - 0.999^t), clip (0: off)]. norm: [L2, non-finite].
// TRIAL = 1 reads p, m, v, vmax and writes only the stepped parameters.
// One invocation: one vec4. Bytes: 16 x 9 (TRIAL: 6). For every device.
struct Params { vec4s: u32, clipped: u32, pad0: u32, pad1: u32 }
{% if TRIAL == 1 %}{% set MODE = "read" %}{% else %}{% set MODE = "read_write" %}{% endif %}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<storage, {{ MODE }}> parameters: array<vec4<f32>>;
@group(0) @binding(5) var<storage, {{ MODE }}> m: array<vec4<f32>>;
@group(0) @binding(6) var<storage, {{ MODE }}> v: array<vec4<f32>>;
{% if AMSGRAD == 1 %}
@group(0) @binding(7) var<storage, {{ MODE }}> vmax: array<vec4<f32>>;
{% endif %}
{% if TRIAL == 1 %}
@group(0) @binding({{ 7 + AMSGRAD }}) var<storage, read_write> stepped: array<vec4<f32>>;
{% endif %}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i >= p.vec4s {
        return;
    }
    let old = parameters[i];
    if norm[1] != 0.0 {
{% if TRIAL == 1 %}
        stepped[i] = old;
{% endif %}
        return;
    }
    var scale = 1.0;
    if hyper[3] > 0.0 {
        scale = min(1.0, hyper[3] / (norm[0] + 1e-6));
    }
    let g = gradient[i] * scale + hyper[1] * old;
    let first = 0.9 * m[i] + 0.1 * g;
    let second = 0.999 * v[i] + 0.001 * g * g;
    var largest = second;
{% if AMSGRAD == 1 %}
    largest = max(vmax[i], second);
{% endif %}
    let next_value = old - hyper[0] * first / (sqrt(largest) * hyper[2] + 1e-8);
{% if TRIAL == 1 %}
    stepped[i] = next_value;
{% else %}
    m[i] = first;
    v[i] = second;
{% if AMSGRAD == 1 %}
    vmax[i] = largest;
{% endif %}
    parameters[i] = next_value;
{% endif %}
}
