//! What is known of the protected objects of one namespace: for each kind the names with a digest, never content.
//! Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// So many objects of a namespace are known at most; kinds beyond that are left out whole, the largest first.
const MOST: usize = 8000;
/// So much of a digest is kept.
const KEPT: usize = 16;

/// What is known of one kind.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct OfKind {
    /// When this was last found to differ from what was known before.
    pub time: Option<Timestamp>,
    /// Digests by name.
    pub objects: BTreeMap<String, String>,
}

/// What is known, by kind: `deployments.apps`, `configmaps`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known(pub BTreeMap<String, OfKind>);

/// How an object differs from what is known of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum How {
    /// It was not there.
    New,
    /// Its digest is another.
    Changed,
    /// It is not there any more.
    Deleted,
}

impl Known {
    /// Reads the data of a ConfigMap: the key is the kind, the first line the time, every other a name and a digest.
    pub fn read(data: &BTreeMap<String, String>) -> Known {
        let of_kind = |text: &String| {
            let mut lines = text.lines();
            let time = lines.next()?.parse().ok()?;
            let objects = lines.filter_map(|line| line.split_once(' '));
            let objects = objects.map(|(name, digest)| (name.to_owned(), digest.to_owned())).collect();
            Some(OfKind { time: Some(time), objects })
        };
        Known(data.iter().filter_map(|(kind, text)| Some((kind.clone(), of_kind(text)?))).collect())
    }

    /// The data of a ConfigMap, and the kinds that did not fit.
    pub fn written(&self) -> (BTreeMap<String, String>, Vec<&str>) {
        let mut kinds: Vec<(&String, &OfKind)> = self.0.iter().collect();
        kinds.sort_by_key(|(_, of_kind)| of_kind.objects.len());
        let (mut data, mut left_out, mut count) = (BTreeMap::new(), Vec::new(), 0);
        for (kind, of_kind) in kinds {
            count += of_kind.objects.len();
            if count > MOST {
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

    /// Takes over what was found of some kinds; what was not looked at stays as it is known. Gives whether anything
    /// differs.
    pub fn learn(&mut self, found: BTreeMap<String, BTreeMap<String, String>>, now: Timestamp) -> bool {
        let mut differs = false;
        for (kind, objects) in found {
            let of_kind = self.0.entry(kind).or_default();
            if of_kind.time.is_none() || of_kind.objects != objects {
                *of_kind = OfKind { time: Some(now), objects };
                differs = true;
            }
        }
        differs
    }

    /// What of a kind differs from what is known; nothing for a kind of which nothing is known.
    pub fn differences(&self, kind: &str, objects: &BTreeMap<String, String>) -> Vec<(String, How)> {
        let Some(OfKind { objects: known, .. }) = self.0.get(kind) else { return Vec::new() };
        let mut differences: Vec<(String, How)> = objects
            .iter()
            .filter_map(|(name, digest)| match known.get(name) {
                None => Some((name.clone(), How::New)),
                Some(known) if known != digest => Some((name.clone(), How::Changed)),
                Some(_) => None,
            })
            .collect();
        let gone = known.keys().filter(|name| !objects.contains_key(*name));
        differences.extend(gone.map(|name| (name.clone(), How::Deleted)));
        differences
    }
}

/// As much of a digest as is kept.
pub fn short(digest: &str) -> String {
    digest.rsplit(':').next().unwrap_or_default().chars().take(KEPT).collect()
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
    fn what_is_written_is_read_again_whatever_the_names() {
        let mut known = Known::default();
        let found = BTreeMap::from([
            ("configmaps".to_owned(), map(&[("a", "1"), ("b", "2")])),
            ("roles.rbac.authorization.k8s.io".to_owned(), map(&[("system:watch", "3")])),
            ("services".to_owned(), map(&[])),
        ]);
        assert!(known.learn(found.clone(), at(7)));
        assert_eq!(Known::read(&known.written().0), known);
        assert!(!known.learn(found, at(9)), "the same again");
        assert_eq!(known.0["configmaps"].time, Some(at(7)));
    }

    #[test]
    fn each_difference_is_found_and_an_unknown_kind_has_none() {
        let mut known = Known::default();
        known.learn(
            BTreeMap::from([("configmaps".to_owned(), map(&[("a", "1"), ("b", "1"), ("d", "1")]))]),
            at(7),
        );
        let now = map(&[("a", "1"), ("b", "2"), ("c", "1")]);
        let expected = [("b", How::Changed), ("c", How::New), ("d", How::Deleted)];
        let expected = expected.map(|(name, how)| (name.to_owned(), how));
        assert_eq!(known.differences("configmaps", &now), expected);
        assert_eq!(known.differences("services", &now), []);
    }

    #[test]
    fn a_kind_with_too_many_objects_is_left_out_whole() {
        let many = (0..=MOST).map(|number| (number.to_string(), "1".to_owned())).collect();
        let mut known = Known::default();
        known.learn(
            BTreeMap::from([("configmaps".to_owned(), many), ("services".to_owned(), map(&[("a", "1")]))]),
            at(7),
        );
        let (data, left_out) = known.written();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["services"]);
        assert_eq!(left_out, ["configmaps"]);
    }
}
