//! What the README tells a newcomer to type works, word for word.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::support::Cluster;

#[test]
fn what_a_newcomer_is_told_to_type_works() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cluster = Cluster::start("readme");
    let dir = cluster.file("");
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let lines = lines(&readme);
    assert!(lines.len() > 10, "{lines:?}");
    let script: String = lines.iter().map(|line| checked(line)).collect();
    let output = Command::new("bash")
        .arg("-c")
        .arg(script.replace("target/dev", dir.to_str().unwrap()))
        .current_dir(root)
        .env("MAYDAY_DEV_DIR", &dir)
        .env_remove("KUBECONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("run/restart-checkout-"), "the report names the run: {said}");
    cluster.stop();
}

/// The lines that stand in blocks of bash.
fn lines(readme: &str) -> Vec<&str> {
    let blocks = readme.split("```bash\n").skip(1);
    blocks.flat_map(|block| block.split("```").next().unwrap().lines()).collect()
}

/// A line that ends the script unless it does what it says.
fn checked(line: &str) -> String {
    match line.split_once("# is refused") {
        Some((line, _)) => format!(
            "if said=$({line} 2>&1); then echo 'was not refused'; exit 1; fi\n\
             [[ $said == *Refused:* ]] || {{ echo \"failed, but was not refused: $said\"; exit 1; }}\n"
        ),
        None => format!("{line} || exit 1\n"),
    }
}
