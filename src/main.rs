//! The operator.
fn main() {
    let crds = mayday::api::crds::all().unwrap_or_default();
    println!("{}", serde_json::to_string_pretty(&crds).unwrap_or_default());
}
