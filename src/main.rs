//! The command line of ReTraced; everything is in [`retraced::cli`].

fn main() -> std::process::ExitCode {
    retraced::cli::main()
}
