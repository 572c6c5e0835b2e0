//! The proxy through which requests go, given as a URL.

use reqwest::Url;

/// The URL of a proxy, or what is wrong with it. It may contain a password, so the text quotes nothing of it.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    const HOW: &str = "write http://HOST[:PORT] or https://HOST[:PORT], with USER:PASSWORD@ before the host if the proxy asks for them";
    let url = Url::parse(text).map_err(|error| format!("this is not a URL: {error}; {HOW}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("the scheme is not supported; {HOW}"));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("a proxy has no path; {HOW}"));
    }
    Ok(url)
}

/// Why this URL may not be given as a flag, if it may not.
pub(super) fn check_flag(text: &str) -> Result<(), String> {
    match Url::parse(text) {
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("the URL contains a user or password, which process lists show to other users; put it into RETRACED_PROXY or the settings file".into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_proxy_is_refused_without_its_password() {
        for text in ["http://proxy:3128", "https://me:a-secret@proxy.example.com:3128/"] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for (text, why) in [
            ("proxy:3128", "the scheme is not supported"),
            ("", "this is not a URL"),
            ("socks5://me:a-secret@proxy", "the scheme is not supported"),
            ("http://me:a-secret@:1", "this is not a URL"),
            ("http://me:a-secret@proxy/path", "a proxy has no path"),
            ("http://proxy?a-secret", "a proxy has no path"),
        ] {
            let error = parse(text).err().unwrap_or_default();
            assert!(error.contains(why) && !error.contains("a-secret"), "{text}: {error}");
        }
    }
}
