// SGD with Nesterov momentum and L2 in the gradient, as torch.optim.SGD:
// g = scale grad + wd p; buf = first step ? g : mu buf + g; p -= lr (g + mu buf).
//
// hyper: [lr, wd, mu, clip (0: off), first step]. norm: [L2, non-finite]: non-finite changes nothing.
// TRIAL = 1 writes only the stepped parameters. One invocation: one vec4. For every device.
struct Params { vec4s: u32, clipped: u32, pad0: u32, pad1: u32 }
{% if TRIAL == 1 %}{% set MODE = "read" %}{% else %}{% set MODE = "read_write" %}{% endif %}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> hyper: array<f32>;
@group(0) @binding(3) var<storage, read> norm: array<f32>;
@group(0) @binding(4) var<storage, {{ MODE }}> parameters: array<vec4<f32>>;
@group(0) @binding(5) var<storage, {{ MODE }}> momentum: array<vec4<f32>>;
{% if TRIAL == 1 %}
@group(0) @binding(6) var<storage, read_write> stepped: array<vec4<f32>>;
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
    var next = g;
    if hyper[4] == 0.0 {
        next = hyper[2] * momentum[i] + g;
    }
    let next_value = old - hyper[0] * (g + hyper[2] * next);
{% if TRIAL == 1 %}
    stepped[i] = next_value;
{% else %}
    momentum[i] = next;
    parameters[i] = next_value;
{% endif %}
}
