//! The emergency switch: until when the operator leaves changed admission objects as they are. Pure.
//!
//! It is a ConfigMap in the operator's namespace, because it must outlive the objects that are deleted.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

use crate::text::instant;

/// Name of the ConfigMap, in the operator's namespace.
pub const CONFIG_MAP: &str = "mayday-emergency";
/// Its key: an instant as in RFC 3339.
pub const KEY: &str = "emergencyDisabledUntil";

/// Until when restoring is switched off; none if it is not. An instant that cannot be read switches nothing off.
pub fn until(map: Option<&ConfigMap>, now: Timestamp) -> Option<Timestamp> {
    let text = map?.data.as_ref()?.get(KEY)?;
    let until: Timestamp = text.trim().parse().ok()?;
    (until > now).then_some(until)
}

/// What it means, for a condition: until when, and how it ends sooner.
pub fn text(until: Timestamp, namespace: &str) -> String {
    format!(
        "configmap/{CONFIG_MAP} leaves it so until {}; to restore it now: kubectl delete configmap {CONFIG_MAP} -n {namespace}",
        instant(until)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn restoring_is_off_only_until_a_readable_instant_ahead() {
        let now: Timestamp = "2026-11-22T03:00:00Z".parse().unwrap();
        let until = |text: &str| {
            let map: ConfigMap = serde_json::from_value(json!({"data": {KEY: text}})).unwrap();
            super::until(Some(&map), now)
        };
        assert_eq!(until("2026-11-22T03:30:00Z"), Some("2026-11-22T03:30:00Z".parse().unwrap()));
        assert_eq!(until("2026-11-22T04:30:00+01:00\n"), Some("2026-11-22T03:30:00Z".parse().unwrap()));
        for none in ["2026-11-22T02:59:59Z", "", "soon", "true", "30m"] {
            assert_eq!(until(none), None, "{none}");
        }
        assert_eq!(super::until(None, now), None);
        assert_eq!(super::until(Some(&ConfigMap::default()), now), None);
    }
}
