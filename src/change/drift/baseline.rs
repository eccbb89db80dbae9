//! The baseline of the protected objects in one namespace: for each kind the names with a digest, never content. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

/// Maximum number of objects in a baseline. If there are more, whole kinds are left out, the largest first.
const MAX_OBJECTS: usize = 8000;
/// Key of the Namespace object, which belongs to no namespaced kind.
const NAMESPACES: &str = "namespaces";
/// Number of characters kept of a digest.
const DIGEST_LENGTH: usize = 16;

/// The baseline of one kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct KindBaseline {
    /// Time at which the objects last differed from the baseline before.
    pub time: Option<Timestamp>,
    /// Digests by name.
    pub objects: BTreeMap<String, String>,
}

/// The baseline of a namespace by kind: `deployments.apps`, `configmaps`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Baseline(pub BTreeMap<String, KindBaseline>);

/// How an object differs from the baseline.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drift {
    /// It is not in the baseline.
    Created,
    /// Its digest differs.
    Changed,
    /// It no longer exists.
    Deleted,
}

impl Baseline {
    /// Reads the data of a ConfigMap: the key is the kind, the first line the time, every other a name and a digest.
    pub fn read(data: &BTreeMap<String, String>) -> Baseline {
        let of_kind = |text: &String| {
            let mut lines = text.lines();
            let time = lines.next()?.parse().ok()?;
            let objects = lines.filter_map(|line| line.split_once(' '));
            let objects = objects.map(|(name, digest)| (name.to_owned(), digest.to_owned())).collect();
            Some(KindBaseline { time: Some(time), objects })
        };
        Baseline(data.iter().filter_map(|(kind, text)| Some((kind.clone(), of_kind(text)?))).collect())
    }

    /// The data of a ConfigMap, and the kinds that do not fit.
    pub fn written(&self) -> (BTreeMap<String, String>, Vec<&str>) {
        let mut kinds: Vec<(&String, &KindBaseline)> = self.0.iter().collect();
        kinds.sort_by_key(|(_, of_kind)| of_kind.objects.len());
        let (mut data, mut left_out, mut count) = (BTreeMap::new(), Vec::new(), 0);
        for (kind, of_kind) in kinds {
            count += of_kind.objects.len();
            if count > MAX_OBJECTS {
                left_out.push(kind.as_str());
                continue;
            }
            let mut text = of_kind.time.unwrap_or_default().to_string();
            for (name, digest) in &of_kind.objects {
                text.push_str(&format!("\n{name} {digest}"));
            }
            data.insert(kind.clone(), text);
        }
        (data, left_out)
    }

    /// Takes over the objects found of some kinds; other kinds stay as they are. Returns whether anything differs.
    pub fn learn(&mut self, found: BTreeMap<String, BTreeMap<String, String>>, now: Timestamp) -> bool {
        let mut differs = false;
        for (kind, objects) in found {
            let of_kind = self.0.entry(kind).or_default();
            if of_kind.time.is_none() || of_kind.objects != objects {
                *of_kind = KindBaseline { time: Some(now), objects };
                differs = true;
            }
        }
        differs
    }

    /// Forgets the kinds that are not served any more, and returns those with objects, with their number.
    pub fn lose(&mut self, served: &BTreeSet<String>) -> Vec<(String, usize)> {
        let gone: Vec<String> =
            self.0.keys().filter(|key| *key != NAMESPACES && !served.contains(*key)).cloned().collect();
        let lost = gone.into_iter().filter_map(|key| Some((key.clone(), self.0.remove(&key)?.objects.len())));
        lost.filter(|(_, count)| *count > 0).collect()
    }

    /// The objects of a kind that differ; none for a kind without a baseline.
    pub fn differences(&self, kind: &str, objects: &BTreeMap<String, String>) -> Vec<(String, Drift)> {
        let Some(KindBaseline { objects: known, .. }) = self.0.get(kind) else { return Vec::new() };
        let mut differences: Vec<(String, Drift)> = objects
            .iter()
            .filter_map(|(name, digest)| match known.get(name) {
                None => Some((name.clone(), Drift::Created)),
                Some(known) if known != digest => Some((name.clone(), Drift::Changed)),
                Some(_) => None,
            })
            .collect();
        let gone = known.keys().filter(|name| !objects.contains_key(*name));
        differences.extend(gone.map(|name| (name.clone(), Drift::Deleted)));
        differences
    }
}

/// The part of a digest that is kept.
pub fn short(digest: &str) -> String {
    digest.rsplit(':').next().unwrap_or_default().chars().take(DIGEST_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, digest)| ((*name).to_owned(), (*digest).to_owned())).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_written_baseline_is_read_again_with_any_names() {
        let mut baseline = Baseline::default();
        let found = BTreeMap::from([
            ("configmaps".to_owned(), map(&[("a", "1"), ("b", "2")])),
            ("roles.rbac.authorization.k8s.io".to_owned(), map(&[("system:watch", "3")])),
            ("services".to_owned(), map(&[])),
        ]);
        assert!(baseline.learn(found.clone(), at(7)));
        assert_eq!(Baseline::read(&baseline.written().0), baseline);
        assert!(!baseline.learn(found, at(9)), "the same again");
        assert_eq!(baseline.0["configmaps"].time, Some(at(7)));
    }

    #[test]
    fn each_difference_is_found_and_an_unknown_kind_has_none() {
        let mut baseline = Baseline::default();
        baseline.learn(
            BTreeMap::from([("configmaps".to_owned(), map(&[("a", "1"), ("b", "1"), ("d", "1")]))]),
            at(7),
        );
        let now = map(&[("a", "1"), ("b", "2"), ("c", "1")]);
        let expected = [("b", Drift::Changed), ("c", Drift::Created), ("d", Drift::Deleted)];
        let expected = expected.map(|(name, how)| (name.to_owned(), how));
        assert_eq!(baseline.differences("configmaps", &now), expected);
        assert_eq!(baseline.differences("services", &now), []);
    }

    #[test]
    fn a_kind_that_is_gone_is_lost_once_with_its_objects() {
        let mut baseline = Baseline::default();
        let one = |key: &str| (key.to_owned(), map(&[("a", "1")]));
        let empty = ("empty.example.com".to_owned(), map(&[]));
        let found = [one("configmaps"), one("tents.example.com"), one("namespaces"), empty];
        baseline.learn(found.into(), at(7));
        let served = BTreeSet::from(["configmaps".to_owned()]);
        assert_eq!(baseline.lose(&served), [("tents.example.com".to_owned(), 1)]);
        assert_eq!(baseline.lose(&served), []);
        assert_eq!(baseline.0.keys().collect::<Vec<_>>(), ["configmaps", "namespaces"]);
    }

    #[test]
    fn a_kind_with_too_many_objects_is_left_out_whole() {
        let many = (0..=MAX_OBJECTS).map(|number| (number.to_string(), "1".to_owned())).collect();
        let mut baseline = Baseline::default();
        baseline.learn(
            BTreeMap::from([("configmaps".to_owned(), many), ("services".to_owned(), map(&[("a", "1")]))]),
            at(7),
        );
        let (data, left_out) = baseline.written();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["services"]);
        assert_eq!(left_out, ["configmaps"]);
    }
}
