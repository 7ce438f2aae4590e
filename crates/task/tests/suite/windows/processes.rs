//! Processes, signals and consoles of Windows containers.

use hcs::{Document, ProcessModifyRequest};
use serde_json::{Value, json};
use task::document::windows::{Order, process, signal, signal_named};

use super::{calls, documents, scenario, steps};

#[test]
fn processes_have_the_recorded_parameters() {
    let first = json!({
        "args": ["cmd", "/S", "/C", r#"echo "hello world" & exit 3"#],
        "user": {"username": "ContainerAdministrator"},
        "cwd": r"C:\work",
        "env": ["A=b", r"PATH=C:\Windows;C:\Windows\System32", "EMPTY="],
    });
    let terminal = json!({
        "commandLine": "powershell -NoLogo",
        "cwd": r"C:\",
        "consoleSize": {"height": 50, "width": 120},
    });
    let detached = json!({"args": ["ping", "-t", "localhost"], "cwd": r"C:\"});
    let ours = [
        process(&first, true, false, true),
        process(&terminal, true, true, true),
        process(&detached, false, false, false),
    ];
    assert_eq!(
        ours.map(|parameters| parameters.unwrap().to_value()).to_vec(),
        documents("process-argon", "HcsCreateProcess", "processParameters")
    );
}

#[test]
fn processes_of_hosted_containers_have_the_same_parameters() {
    let scenario = scenario("wcow-container");
    let recorded: Vec<Value> = calls(&scenario)
        .filter(|call| call["gcs_message"] == "ExecuteProcess")
        .map(|call| {
            let text = call["message"]["Settings"]["ProcessParameters"].as_str().unwrap();
            serde_json::from_str(text).unwrap()
        })
        .collect();
    let init = json!({
        "args": ["cmd", "/S", "/C", "ping -t localhost"],
        "user": {"username": "ContainerUser"},
        "cwd": r"C:\",
        "env": ["A=b"],
    });
    let exec = json!({"args": ["powershell"], "consoleSize": {"height": 50, "width": 120}});
    let ours = [
        process(&init, true, false, true),
        process(&exec, true, true, true),
    ];
    assert_eq!(
        ours.map(|parameters| parameters.unwrap().to_value()).to_vec(),
        recorded
    );
}

#[test]
fn signals_mean_what_was_recorded() {
    let scenario = scenario("process-argon");
    let mut seen = 0;
    for (step, calls) in steps(&scenario) {
        let ours = if let Some(number) = step.strip_prefix("signal number ") {
            signal(number.parse().unwrap())
        } else if let Some(name) = step.strip_prefix("signal name ") {
            signal_named(name.trim_matches('"'))
        } else {
            continue;
        };
        seen += 1;
        let recorded = match (calls[0]["function"].as_str(), calls[0]["result"].as_str()) {
            (Some("HcsSignalProcess"), _) => Some(calls[0]["args"]["options"].clone()),
            (_, Some(result)) if result.starts_with("no signal is sent") => None,
            // The reference runtime knows TERM and KILL only without SIG. Users of docker write both.
            (_, Some("rejected as an invalid signal")) => match step {
                r#"signal name "SIGTERM""# => Some(json!({"Signal": "CtrlShutdown"})),
                r#"signal name "SIGKILL""# => None,
                _ => panic!("{step}"),
            },
            _ => panic!("{step}"),
        };
        let ours = match ours.unwrap() {
            Order::Signal(options) => Some(serde_json::to_value(options).unwrap()),
            Order::Terminate => None,
        };
        assert_eq!(ours, recorded, "{step}");
    }
    assert_eq!(seen, 14);
}

#[test]
fn consoles_are_resized_and_inputs_closed_as_recorded() {
    let ours = [
        ProcessModifyRequest::close_stdin(),
        ProcessModifyRequest::resize(43, 132),
    ];
    assert_eq!(
        ours.map(|request| request.to_value()).to_vec(),
        documents("process-argon", "HcsModifyProcess", "settings")
    );
}
