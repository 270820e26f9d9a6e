//! The manifests in `deploy/`: Kubernetes' own schemas accept them, and what they start does what they promise.

use std::{fs, path::Path};

use rustix::process::Signal;
use serde_json::Value;

use crate::{
    common::{Daemon, eventually, resound, tool},
    foreign,
    namespaces::Namespaces,
    python, run,
};

/// The documents of a manifest, by kind.
fn documents(file: &str) -> Option<impl Fn(&str) -> Value> {
    let mut validate = python("kubernetes_validate", "kubernetes.py")?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let printed = run(validate.arg(path));
    let documents: Vec<Value> = serde_json::from_str(&printed).unwrap();
    Some(move |kind: &str| {
        let found = documents.iter().find(|document| document["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}")).clone()
    })
}

fn manifest() -> Option<impl Fn(&str) -> Value> {
    documents("kubernetes.yaml")
}

/// `name` among objects that have one.
fn named<'v>(all: &'v Value, name: &str) -> &'v Value {
    let found = all.as_array().unwrap().iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {all}"))
}

/// The value of a variable of the container.
fn variable<'v>(container: &'v Value, name: &str) -> &'v str {
    named(&container["env"], name)["value"].as_str().unwrap()
}

/// The number in a quantity with that unit: 10 in `10s`, 96 in `96MiB`.
fn amount(quantity: &str, unit: &str) -> u64 {
    quantity.strip_suffix(unit).unwrap_or_else(|| panic!("{quantity}")).parse().unwrap()
}

#[test]
fn what_the_manifest_says_in_two_places_agrees() {
    let Some(manifest) = manifest() else { return };
    let deployment = manifest("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["image"], concat!("resound:", env!("CARGO_PKG_VERSION")));

    // The Secret's token becomes the file that the daemon reads.
    let token = Path::new(variable(container, "RESOUND_ADMIN_TOKEN_FILE"));
    assert_eq!(token.file_name().unwrap(), "token");
    let mount = named(&container["volumeMounts"], "admin-token");
    assert_eq!(token.parent(), mount["mountPath"].as_str().map(Path::new));
    assert_eq!(named(&pod["volumes"], "admin-token")["secret"]["secretName"], "resound-admin");

    let time = |name| amount(variable(container, name), "s");
    let until_killed = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(until_killed > time("RESOUND_DRAIN_DELAY") + time("RESOUND_GRACE"));
    let readiness = &container["readinessProbe"];
    let failures = readiness["failureThreshold"].as_u64().unwrap();
    let not_ready = readiness["periodSeconds"].as_u64().unwrap() * failures;
    assert!(time("RESOUND_DRAIN_DELAY") > not_ready, "the probe sees it drain");
    for probe in [readiness, &container["livenessProbe"]] {
        assert!(probe["timeoutSeconds"].as_u64().unwrap() > 5, "a stuck loop is named after 5 s");
    }

    let memory = container["resources"]["limits"]["memory"].as_str().unwrap();
    assert!(amount(memory, "Mi") > amount(variable(container, "RESOUND_MAX_MEMORY"), "MiB"));

    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let (service, policy) = (manifest("Service"), manifest("NetworkPolicy"));
    for selector in [
        &service["spec"]["selector"],
        &deployment["spec"]["selector"]["matchLabels"],
        &policy["spec"]["podSelector"]["matchLabels"],
        &manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    for port in service["spec"]["ports"].as_array().unwrap() {
        let target = named(&container["ports"], port["targetPort"].as_str().unwrap());
        assert_eq!(port["port"], target["containerPort"]);
    }
    for rule in policy["spec"]["ingress"].as_array().unwrap() {
        for port in rule["ports"].as_array().unwrap() {
            named(&container["ports"], port["port"].as_str().unwrap());
        }
    }
}

#[test]
fn the_daemon_of_the_manifest_answers_its_probes_and_is_not_ready_while_it_drains() {
    let Some(manifest) = manifest() else { return };
    let Some(curl) = tool("curl") else { return };
    let container = &manifest("Deployment")["spec"]["template"]["spec"]["containers"][0];
    let Some(namespaces) = Namespaces::new("kubernetes", 1) else { return };
    let mut command = resound();
    command.args(container["args"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
    let mut command = namespaces.within(0, &command);
    for variable in container["env"].as_array().unwrap() {
        command.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
    }
    let token = std::env::temp_dir().join(format!("resound-kubernetes-{}", std::process::id()));
    fs::write(&token, "0123456789abcdef\n").unwrap();
    command.env("RESOUND_ADMIN_TOKEN_FILE", &token);
    // So that it drains for as long as the test looks.
    command.env("RESOUND_DRAIN_DELAY", "10m");
    let ports = container["ports"].as_array().unwrap();
    let daemon = Daemon::spawn(command, ports.len());
    fs::remove_file(&token).unwrap();
    for port in ports {
        let (name, number) = (port["name"].as_str().unwrap(), &port["containerPort"]);
        let place = format!("{name}://0.0.0.0:{number}");
        assert!(daemon.listening.contains(&place), "no {place} in {:?}", daemon.listening);
    }

    let get = |path: &str, port: &str| {
        let number = &named(&container["ports"], port)["containerPort"];
        let mut command = foreign(&curl);
        command.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"]);
        command.arg(format!("http://127.0.0.1:{number}{path}"));
        run(&mut namespaces.within(0, &command))
    };
    let probe = |name: &str| {
        let get_of = &container[name]["httpGet"];
        get(get_of["path"].as_str().unwrap(), get_of["port"].as_str().unwrap())
    };
    assert_eq!((probe("readinessProbe"), probe("livenessProbe")), ("200".into(), "200".into()));
    assert_eq!(get("/connections", "admin"), "401", "all but the probes need the token");
    daemon.signal(Signal::TERM);
    eventually("it is not ready", || probe("readinessProbe") == "503");
    assert_eq!(probe("livenessProbe"), "200");
}

/// What `kubectl logs` shows of a pod of the Job: its two outputs, line by line as they came.
fn log_of_a_pod(arguments: &[String], address: &str, start: &str) -> String {
    let mut command = resound();
    command.args(arguments.iter().map(|word| {
        let word = word.replace("$(START_AT)", start).replace("--duration=30s", "--duration=1s");
        word.replace("frames://resound:30000", address)
    }));
    let mut shell = foreign(Path::new("sh"));
    shell.args(["-c", "exec \"$0\" \"$@\" 2>&1"]).arg(command.get_program());
    run(shell.args(command.get_args()))
}

#[test]
fn the_pods_of_the_job_begin_together_and_their_logs_are_merged() {
    let Some(manifest) = documents("bench-job.yaml") else { return };
    let job = &manifest("Job")["spec"];
    assert_eq!(job["completionMode"], "Indexed");
    assert_eq!(job["completions"], job["parallelism"], "all at the same time");
    let pods = usize::try_from(job["completions"].as_u64().unwrap()).unwrap();
    let container = &job["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], concat!("resound:", env!("CARGO_PKG_VERSION")));
    let words = container["args"].as_array().unwrap();
    let words: Vec<String> = words.iter().map(|word| word.as_str().unwrap().to_owned()).collect();
    assert_eq!(container["env"][0]["name"], "START_AT");

    // As in docs/many-machines.md, where `date` prints the time.
    let daemon = Daemon::frames(&[]);
    let (address, start) = (
        daemon.address(0),
        run(foreign(Path::new("date")).args(["-u", "-d", "8 seconds", "+%FT%TZ"])),
    );
    let logs: Vec<String> = std::thread::scope(|scope| {
        let start = start.trim();
        let pods: Vec<_> =
            (0..pods).map(|_| scope.spawn(|| log_of_a_pod(&words, address, start))).collect();
        pods.into_iter().map(|pod| pod.join().unwrap()).collect()
    });
    let folder = std::env::temp_dir().join(format!("resound-job-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let mut merge = resound();
    merge.args(["bench", "merge", "--json", "-"]);
    for (index, log) in logs.iter().enumerate() {
        let (log_file, json) =
            (folder.join(format!("{index}.log")), folder.join(index.to_string()));
        fs::write(&log_file, log).unwrap();
        let sed = run(foreign(Path::new("sed")).args(["-n", "/^{$/,/^}$/p"]).arg(log_file));
        fs::write(&json, sed).unwrap();
        merge.arg(json);
    }
    let merged: Value = serde_json::from_str(&run(&mut merge)).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(merged["parts"].as_array().unwrap().len(), pods);
    assert_eq!(merged["config"]["connections"], 250 * pods);
    assert_eq!(merged["errors"], 0, "{merged}");
}
