//! What the command line asks for.

/// The command line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Short chains: a look at everything in a few minutes, with figures that say little.
    pub(crate) quick: bool,
    /// Only makes the chains of the wanted rows, so that a measurement need not wait for them.
    pub(crate) make: bool,
    /// Only rows whose name contains one of these.
    only: Vec<String>,
}

impl Options {
    /// Reads the arguments; cargo adds `--bench`.
    pub(crate) fn read(args: impl Iterator<Item = String>) -> Self {
        let mut options = Self::default();
        let mut args = args.filter(|arg| arg != "--bench");
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--make" => options.make = true,
                "--only" => {
                    let names = args.next().expect("--only needs the names of rows, as in --only W1,W2");
                    options.only.extend(names.split(',').map(str::to_lowercase));
                }
                other => panic!("{other} is no option: there are --quick, --make and --only NAME,NAME"),
            }
        }
        options
    }

    /// Whether a row is wanted.
    pub(crate) fn wants(&self, row: &str) -> bool {
        let row = row.to_lowercase();
        self.only.is_empty() || self.only.iter().any(|name| row.contains(name))
    }

    /// One number for a full run, one for a quick one.
    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
