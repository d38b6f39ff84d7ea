fn main() {
    println!("asng-wgpu {}", env!("CARGO_PKG_VERSION"));
}
