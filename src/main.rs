//! The `asng-wgpu` binary; everything is in the library.

fn main() -> std::process::ExitCode {
    asng_wgpu::cli::run()
}
