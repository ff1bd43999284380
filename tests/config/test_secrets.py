"""Secrets: named in a configuration, never held by it; harmless keys of speech recipes stay harmless."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from espnet3.config.compose import compose, find_recipe
from espnet3.config.fingerprint import stage_part
from espnet3.config.secrets import (
    check_secrets_set,
    hide_secrets,
    is_secret_variable,
    saved_text,
    secret_values,
)
from espnet3.errors import UserError
from espnet3.stage_table import STAGES

SECRET = "b7e4-sentinel-0f3a"


def composed(recipe: Path, *overrides: str):
    return compose(find_recipe(recipe), overrides)


def message(recipe: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        composed(recipe, *overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_API_KEY", SECRET)
    monkeypatch.setenv("OUR_DATABASE", SECRET)
    monkeypatch.setenv("GREETING", "hello")


def test_a_secret_stays_an_interpolation_and_is_read_where_it_is_used(small_recipe: Path):
    config = composed(
        small_recipe,
        "+dataset.header='Bearer ${oc.env:TEST_API_KEY}'",
        "+dataset.maybe='${oc.env:TEST_API_KEY,null}'",
        "+dataset.again='${dataset.header}'",
        "+dataset.greeting='${oc.env:GREETING}'",
        "+dataset.password='${oc.env:OUR_DATABASE}'",
        "+dataset.same='${dataset.password}'",
    )
    text = saved_text(config)
    assert SECRET not in text and SECRET not in OmegaConf.to_yaml(config)
    saved = OmegaConf.create(text)
    assert OmegaConf.to_container(saved.dataset)["header"] == "Bearer ${oc.env:TEST_API_KEY}"
    assert OmegaConf.to_container(saved.dataset)["maybe"] == "${oc.env:TEST_API_KEY,null}"
    assert OmegaConf.to_container(saved.dataset)["greeting"] == "hello"
    for used in (config, saved):
        assert used.dataset.header == used.dataset.again == f"Bearer {SECRET}"
        assert used.dataset.password == used.dataset.same == used.dataset.maybe == SECRET
    assert saved_text(saved) == text


def test_what_decides_a_stage_holds_a_secret_by_its_name(small_recipe: Path, monkeypatch: pytest.MonkeyPatch):
    keys = ("dataset", "validate")
    overrides = [f"+{key}.api_key='${{oc.env:TEST_API_KEY}}'" for key in keys]
    overrides += [f"+{key}.password='${{oc.env:OUR_DATABASE}}'" for key in keys]
    overrides += ["prepare.mode='${oc.env:TEST_API_KEY}'"]
    before = composed(small_recipe, *overrides)
    parts = [stage_part(before, stage) for stage in STAGES]
    for part in parts:
        assert SECRET not in str(part) and "${oc.env:TEST_API_KEY}" in part.values()
    monkeypatch.setenv("TEST_API_KEY", "another-one-1234")
    monkeypatch.setenv("OUR_DATABASE", "another-one-1234")
    after = composed(small_recipe, *overrides)
    assert [stage_part(after, stage) for stage in STAGES] == parts
    assert after.stats_dir == before.stats_dir


def test_a_variable_that_is_not_set_is_named_before_anything_starts(
    small_recipe: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("TEST_API_KEY")
    override = "+prepare.x='${oc.env:TEST_API_KEY}'"
    assert "prepare.x" in message(small_recipe, override) and "TEST_API_KEY" in message(
        small_recipe, override
    )
    config = OmegaConf.create({"a": {"b": "${oc.env:TEST_API_KEY}", "c": "${oc.env:NOT_THERE_KEY,null}"}})
    with pytest.raises(UserError, match=r"TEST_API_KEY is not set here, and a\.b takes it"):
        check_secrets_set(config, {})
    check_secrets_set(config, {"TEST_API_KEY": "x"})


@pytest.mark.parametrize(
    "override",
    [
        "+logger.wandb.api_key=abc",
        "+logger.wandb.apiKey=abc",
        "+logger.neptune.api-token=abc",
        "+prepare.password=hunter2",
        "+prepare.password=1234",
        "+prepare.db_passwd=[abc]",
        "+prepare.db_pass=abc",
        "+prepare.smtp_pwd=abc",
        "+dataset.header='Bearer abcdefgh1234'",
        "+dataset.header='authorization: Basic YWJjOmRlZg=='",
        "+prepare.client_secret=abc",
        "+dataset.hf_token=abc",
        "+dataset.auth_token=abc",
        "+dataset.token=0123456789abcdef0123456789abcdef01234567",
        "+dataset.x=hf_AbCdEfGhIjKlMnOpQrStUvWx",
        "+dataset.storage='mysql://ann:pass@host/sweeps'",
        f"+dataset.harmless={SECRET}",
        f"+dataset.harmless='x{SECRET}x'",
        "+dataset.password='${oc.env:NOT_SET_AT_ALL,hunter2}'",
    ],
)
def test_a_secret_as_text_is_refused_by_key_and_not_shown(small_recipe: Path, override: str):
    key, value = override[1:].split("=", 1)
    said = message(small_recipe, override)
    assert said.startswith(key) and "as text" in said and "='${oc.env:" in said
    assert value.strip("'[]") not in said and SECRET not in said


def test_a_secret_in_a_file_is_refused_too_and_the_right_form_is_shown(small_recipe: Path):
    with (small_recipe / "conf" / "config.yaml").open("a") as file:
        file.write("logger: {wandb: {api_key: abc}}\n")
    assert "logger.wandb.api_key='${oc.env:WANDB_API_KEY}'" in message(small_recipe)


@pytest.mark.parametrize(
    "override",
    [
        "token_list=data/tokens.txt",
        "token_type=bpe",
        "pad_token='<pad>'",
        "token='<blank>'",
        "blank_key=blank",
        "sort_key=utterance_length",
        "keys=[speech,text]",
        "key=audio",
        "num_tokens=500",
        "token=null",
        "use_auth_token=true",
        "password_file=/home/ann/.password",
        "credentials=/home/ann/gcp.json",
        "api_key_name=first",
        "secret=''",
        "tokens_per_batch=40000",
        "monkey=banana",
        "low_pass=4000",
        "text='the bearer authenticates'",
        "url='https://host:8080/a@b'",
        "name=disk-based-feature-extraction",
        "commit=0123456789abcdef0123456789abcdef01234567",
        "text='${oc.env:GREETING}'",
    ],
)
def test_keys_of_speech_recipes_and_files_of_secrets_are_no_secrets(small_recipe: Path, override: str):
    composed(small_recipe, f"+model.{override}")


@pytest.mark.parametrize(
    "override",
    [
        "setup=['export WANDB_API_KEY=abc']",
        "setup=['export X=${oc.env:TEST_API_KEY}']",
        f"setup=['login {SECRET}']",
        "srun_args=['--export=ALL,HF_TOKEN=abc']",
        "python='env HF_TOKEN=abc python'",
        "setup=['export DB_PASS=abc']",
        "setup=['export MYSQL_PWD=abc']",
        "additional_parameters={export: 'ALL,HF_TOKEN=abc'}",
    ],
)
def test_a_secret_in_what_becomes_a_script_is_refused_and_the_way_is_said(small_recipe: Path, override: str):
    said = message(small_recipe, f"resources.train.{override}")
    assert said.startswith("resources.train.") and "before the command" in said
    assert SECRET not in said and "=abc" not in said


@pytest.mark.parametrize(
    "line",
    [
        *("login 0123456789abcdef0123456789abcdef01234567", "export X=0123456789ABCDEF0123456789ABCDEF"),
        'curl -H "Authorization: Bearer abcdefgh1234"',
    ],
)
def test_what_looks_like_a_secret_in_a_script_is_refused_whatever_it_is_called(small_recipe: Path, line: str):
    said = message(small_recipe, f"resources.train.setup=['{line}']")
    assert said.startswith("resources.train.setup.0 would write a secret into the job's script")
    assert line.split()[-1] not in said


@pytest.mark.parametrize(
    "line",
    [
        *("export WANDB_API_KEY=$(cat ~/.wandb)", 'export A_TOKEN="$B_TOKEN"', "export SPEED=fast"),
        'curl -H "Authorization: Bearer $A_TOKEN"',
        "git checkout 0123456789abcdef0123456789abcdef01234567",
        "export COMMIT=0123456789abcdef0123456789abcdef01234567",
        "module use /spack/0123456789abcdef0123456789abcdef",
        "export IMAGE=image@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        "export LOW_PASS=4000",
    ],
)
def test_a_script_may_fetch_a_secret(small_recipe: Path, line: str):
    composed(small_recipe, f"resources.train.setup=['{line}']")


def test_which_variables_are_secret_and_how_their_values_are_hidden(tmp_path: Path):
    for name in (
        "WANDB_API_KEY",
        "HF_TOKEN",
        "DB_PASSWORD",
        "AWS_SECRET_ACCESS_KEY",
        "GITHUB_PAT",
        "KEY",
        "MY_PASS",
        "A_PWD",
    ):
        assert is_secret_variable(name)
    for name in (
        "HOME",
        "TOKENIZERS_PARALLELISM",
        "PWD",
        "KEYBOARD",
        "TOKEN_LIST",
        "PATH",
        "OLDPWD",
        "LOW_PASS",
    ):
        assert not is_secret_variable(name)
    (tmp_path / "key.json").touch()
    environment = {
        "A_KEY": SECRET,
        "SORT_KEY": "utterance",
        "B_TOKEN": "short",
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "key.json"),
        "HOME": "/home/ann/long/1234567",
    }
    assert secret_values(environment) == {"A_KEY": SECRET}
    assert hide_secrets(f"401 for {SECRET}, /home/ann/long/1234567", environment) == (
        "401 for ***, /home/ann/long/1234567"
    )
    assert hide_secrets("sent: 'Bearer abcdefgh1234'", {}) == "sent: '***'"
