// The device's copy limit, for benches: result = source, vec4 by vec4.
//
// One invocation: one vec4. Bytes: 32. For every device.
struct Params { vec4s: u32, pad0: u32, pad1: u32, pad2: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = (group.y * 32768u + group.x) * 64u + local;
    if i < p.vec4s {
        result[i] = source[i];
    }
}
