//! The operator's command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mayday::{api, config::Config, process, telemetry};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Mayday detects outages, pages people, runs approved instructions and refuses what nobody approved.
#[derive(Parser)]
#[command(name = "mayday", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the operator.
    Run(RunArguments),
    /// Write the CustomResourceDefinitions, one YAML file a kind.
    Crds {
        /// The folder to write to.
        #[arg(default_value = "crds")]
        folder: PathBuf,
    },
    /// Remove the webhooks, cancel runs and let them go; before the release is uninstalled.
    Uninstall {
        /// How to reach the API server from outside a pod.
        #[arg(long)]
        kubeconfig: Option<PathBuf>,
        /// Namespace of the operator.
        #[arg(long, default_value = "mayday-system")]
        namespace: String,
    },
}

#[derive(clap::Args)]
struct RunArguments {
    /// The settings.
    #[arg(long)]
    config: PathBuf,
    /// How to reach the API server from outside a pod.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Name of this process, unique among the replicas.
    #[arg(long)]
    identity: String,
    /// Where the webhooks listen, instead of what the settings say.
    #[arg(long)]
    admission_address: Option<std::net::SocketAddr>,
    /// Where alerts are posted to, instead of what the settings say.
    #[arg(long)]
    intake_address: Option<std::net::SocketAddr>,
    /// Where metrics are, instead of what the settings say.
    #[arg(long)]
    metrics_address: Option<std::net::SocketAddr>,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(arguments) => run(arguments),
        Command::Crds { folder } => write_crds(&folder),
        Command::Uninstall { kubeconfig, namespace } => uninstall(kubeconfig.as_deref(), &namespace),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mayday: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: RunArguments) -> Result<(), Failure> {
    let mut config = Config::load(&arguments.config)?;
    config.admission.address = arguments.admission_address.unwrap_or(config.admission.address);
    config.intake.address = arguments.intake_address.unwrap_or(config.intake.address);
    config.metrics.address = arguments.metrics_address.unwrap_or(config.metrics.address);
    telemetry::logging::start(&config.log)?;
    install_tls()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let kube = mayday::cluster::client::load(arguments.kubeconfig.as_deref()).await?;
        process::run(config, kube, arguments.identity).await
    })
}

fn uninstall(kubeconfig: Option<&Path>, namespace: &str) -> Result<(), Failure> {
    install_tls()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(async {
        let kube = mayday::cluster::client::load(kubeconfig).await?;
        let done = mayday::uninstall::run(&mayday::cluster::client::calling(&kube)?, namespace).await?;
        Ok::<_, Failure>(done)
    })?;
    done.iter().for_each(|line| println!("{line}"));
    Ok(())
}

fn install_tls() -> Result<(), Failure> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| "another TLS provider was installed before".into())
}

fn write_crds(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder)?;
    for crd in api::crds::all()? {
        std::fs::write(folder.join(api::crds::file_name(&crd)), api::crds::yaml(&crd)?)?;
    }
    Ok(())
}
