//! The command line of a break-glass. Pure.
use mayday::command::{Command, Flag, TEXT, Verb};

use crate::client::failure::Failure;
use crate::client::session::Connection;
use crate::client::session::Me;

/// Groups that the API server gives by itself; to ask for them would need a right of its own.
const GIVEN: &[&str] = &["system:authenticated", "system:unauthenticated"];
/// Flags of kubectl that say as whom.
const AS_WHOM: &[&str] = &["--as", "--as-group", "--as-uid", "--as-user-extra", "--user", "--token"];
/// Flags of kubectl that say which cluster.
const WHERE: &[&str] = &["--context", "--kubeconfig", "--cluster", "--server", "-s"];
/// Maximum number of words of a command that are written down.
const TOLD: usize = 5;

/// The command without a leading `kubectl`.
pub fn bare(command: &[String]) -> Result<&[String], Failure> {
    let bare = match command.split_first() {
        Some((first, rest)) if first == "kubectl" => rest,
        _ => command,
    };
    // The words after `--` are a command that kubectl runs elsewhere, such as in a container.
    let mut words = bare.iter().take_while(|word| *word != "--");
    let given = |flags: &[&str], word: &str| {
        flags.iter().any(|flag| word == *flag || word.starts_with(&format!("{flag}=")))
    };
    if let Some(word) = words.clone().find(|word| given(AS_WHOM, word)) {
        return Err(Failure::usage(format!(
            "The command must not say {}: break-glass is done as oneself.",
            flag(word)
        )));
    }
    if let Some(word) = words.find(|word| given(WHERE, word)) {
        return Err(Failure::usage(format!(
            "The command must not say {}: what is checked and written down here must be about the same cluster. Say \
             --context or --kubeconfig before the --, after break-glass.",
            flag(word)
        )));
    }
    if bare.is_empty() {
        return Err(Failure::usage(format!(
            "There is no command: {}.",
            Command::new(Verb::BreakGlass).flag(Flag::Why, TEXT).then_command()
        )));
    }
    Ok(bare)
}

fn flag(word: &str) -> &str {
    word.split_once('=').map_or(word, |(flag, _)| flag)
}

/// The namespace that the command names itself.
pub fn namespace_in(command: &[String]) -> Option<&str> {
    let mut words = command.iter().take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        match word.as_str() {
            "-n" | "--namespace" => return words.next().map(String::as_str),
            _ => {}
        }
        if let Some(value) = word.strip_prefix("--namespace=").or_else(|| word.strip_prefix("-n=")) {
            return Some(value);
        }
        if let Some(value) = word.strip_prefix("-n").filter(|value| !value.is_empty()) {
            return Some(value);
        }
    }
    None
}

/// The action and its object, as everybody who may read incidents sees them. The text holds no value, which
/// may be a password, and so nothing after the first flag.
pub fn told(command: &[String]) -> String {
    let mut words = command.iter().map(String::as_str).peekable();
    let mut told = vec!["kubectl"];
    while let Some(word) = words.next() {
        match word {
            "-n" | "--namespace" => _ = words.next(),
            _ if word.starts_with("--namespace=") || word.starts_with("-n") => {}
            _ if word.starts_with('-') => break,
            _ if word.contains(['=', '{']) => {}
            _ => told.push(word),
        }
    }
    told.truncate(TOLD);
    told.join(" ")
}

/// One's own groups that have to be asked for.
pub fn own_groups<'a>(me: &'a Me, taken: &'a [String]) -> impl Iterator<Item = &'a String> {
    let is_given = |group: &str| GIVEN.contains(&group) || group.starts_with("system:serviceaccounts");
    me.groups.iter().filter(move |group| !is_given(group) && !taken.contains(group))
}

/// The command as oneself, under these groups.
pub fn impersonating(
    connection: &Connection,
    user: &str,
    groups: &[String],
    command: &[String],
) -> Vec<String> {
    let mut words = vec![format!("--as={user}")];
    words.extend(groups.iter().map(|group| format!("--as-group={group}")));
    words.extend(connection.kubeconfig.iter().map(|file| format!("--kubeconfig={}", file.display())));
    words.extend(connection.context.iter().map(|context| format!("--context={context}")));
    if namespace_in(command).is_none() {
        words.extend(connection.namespace.iter().map(|namespace| format!("--namespace={namespace}")));
    }
    words.extend(command.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn the_person_impersonates_themselves_with_the_break_glass_group() {
        let connection = Connection { namespace: Some("shop".into()), ..Default::default() };
        let command = words("set image deploy/checkout app=shop/checkout:v1");
        let groups = words("shop-break-glass shop-engineers");
        assert_eq!(
            impersonating(&connection, "emil", &groups, &command).join(" "),
            "--as=emil --as-group=shop-break-glass --as-group=shop-engineers --namespace=shop set image \
             deploy/checkout app=shop/checkout:v1"
        );
    }

    #[test]
    fn the_groups_that_the_api_server_gives_are_not_asked_for() {
        let groups = "shop-engineers system:authenticated system:serviceaccounts:shop system:masters glass";
        let me = Me { user: "emil".into(), groups: words(groups) };
        let taken = words("glass");
        let own: Vec<&String> = own_groups(&me, &taken).collect();
        assert_eq!(own, ["shop-engineers", "system:masters"]);
    }

    #[test]
    fn the_namespace_of_the_command_wins() {
        for text in ["scale -n shop deploy/x", "scale -nshop deploy/x", "--namespace=shop scale deploy/x"] {
            assert_eq!(namespace_in(&words(text)), Some("shop"), "{text}");
        }
        assert_eq!(namespace_in(&words("exec pod -- ls -n other")), None);
        let connection = Connection { namespace: Some("default".into()), ..Default::default() };
        let words = impersonating(&connection, "emil", &[], &words("scale -n shop deploy/x"));
        assert!(!words.iter().any(|word| word.starts_with("--namespace")), "{words:?}");
    }

    #[test]
    fn a_leading_kubectl_is_dropped_and_another_person_or_cluster_refused() {
        assert_eq!(bare(&words("kubectl get pods")).unwrap(), words("get pods"));
        for text in
            ["get pods --as=bob", "--as-group x get pods", "--context other get pods", "-s x get pods"]
        {
            assert_eq!(bare(&words(text)).unwrap_err().code, 2, "{text}");
        }
        assert_eq!(bare(&words("kubectl")).unwrap_err().code, 2);
        let inner = words("exec pod -- sudo --as=root --context x");
        assert_eq!(bare(&inner).unwrap(), inner, "what runs in the container is its own");
    }

    #[test]
    fn a_value_of_the_command_is_never_written_down() {
        for (command, expected) in [
            ("create secret generic db --from-literal=password=hunter2", "kubectl create secret generic db"),
            ("-n shop set env deploy/checkout PASSWORD=hunter2", "kubectl set env deploy/checkout"),
            ("patch -n=shop secret db -p {\"stringData\":{\"a\":\"hunter2\"}}", "kubectl patch secret db"),
            ("exec -n shop pod/x -- echo hunter2", "kubectl exec pod/x"),
            ("set image deploy/checkout app=shop/checkout:v1", "kubectl set image deploy/checkout"),
        ] {
            assert_eq!(told(&words(command)), expected);
        }
    }
}
