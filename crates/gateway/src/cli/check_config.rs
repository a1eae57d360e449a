//! `slotcast check-config`: the configuration in use as TOML, each value with its source, secrets masked.
//! Called by `run`.

use std::io::{self, Write};

use crate::config::Loaded;

/// Prints every key, the storage mode that results, and what is probably not meant.
pub(super) fn print(loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    match print_all(loaded, out) {
        // Whoever read our output has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

fn print_all(loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    let mut section = "";
    let entries = loaded.entries();
    for entry in &entries {
        let Some((of, key)) = entry.key.split_once('.') else { continue };
        if of != section {
            writeln!(out, "{}[{of}]", if section.is_empty() { "" } else { "\n" })?;
            section = of;
        }
        let line = match &entry.value {
            Some(value) => format!("{key} = {value}"),
            None => format!("# {key} is not set"),
        };
        match &entry.origin {
            Some(origin) => writeln!(out, "{line:<40} # from {origin}")?,
            None => writeln!(out, "{line}")?,
        }
    }
    writeln!(out, "\n# storage mode: {}", loaded.config.storage())?;
    for warning in loaded.warnings() {
        writeln!(out, "# warning: {warning}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    fn printed(environment: &[(&str, &str)]) -> String {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let loaded = load(&Sources { environment, ..Sources::default() }).unwrap();
        let mut out = Vec::new();
        print(&loaded, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn it_shows_values_sources_and_mode_but_no_secret() {
        let text = printed(&[
            ("SLOTCAST_REDIS_URL", "redis://:hush@127.0.0.1"),
            ("SLOTCAST_SECURITY_DASHBOARD_KEY", "hush-hush-hush-hush"),
        ]);
        assert!(text.contains("url = \"redis://:***@127.0.0.1\""), "{text}");
        assert!(text.contains("# from SLOTCAST_REDIS_URL"), "{text}");
        assert!(text.contains("selection_ttl_secs = 10\n"), "{text}");
        assert!(text.contains("# storage mode: redis alone\n# warning: no mysql.url"), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn it_says_which_store_steps_in_for_which() {
        let mysql = ("SLOTCAST_MYSQL_URL", "mysql://wp:hush@127.0.0.1/wordpress");
        let text = printed(&[mysql]);
        assert!(text.ends_with("# storage mode: mysql alone\n"), "{text}");
        let text = printed(&[mysql, ("SLOTCAST_REDIS_URL", "redis://127.0.0.1")]);
        assert!(
            text.ends_with("# storage mode: redis, with mysql to step in for it and to keep the locks\n"),
            "{text}"
        );
        assert!(!text.contains("hush"), "{text}");
    }

    #[test]
    fn it_warns_that_memory_is_forgotten() {
        let text = printed(&[]);
        assert!(text.contains("# storage mode: memory\n# warning: no redis.url"), "{text}");
    }
    #[test]
    fn it_warns_that_nobody_else_sees_the_dashboard_where_others_reach_the_gateway() {
        const WARNING: &str = "# warning: security.dashboard_key is not set";
        let listen = |address| ("SLOTCAST_SERVER_LISTEN", address);
        for address in ["0.0.0.0:8080", "[::]:8080", "203.0.113.9:8080", "booking.example:8080"] {
            assert!(printed(&[listen(address)]).contains(WARNING), "{address}");
        }
        let key = ("SLOTCAST_SECURITY_DASHBOARD_KEY", "hush-hush-hush-hush");
        assert!(!printed(&[listen("0.0.0.0:8080"), key]).contains(WARNING));
        for address in ["127.0.0.1:8080", "[::1]:8080", "localhost:8080"] {
            assert!(!printed(&[listen(address)]).contains(WARNING), "{address}");
        }
    }
}
