//! The binary `hallway`; everything is in the library.

fn main() -> std::process::ExitCode {
    hallway::cli::main()
}
