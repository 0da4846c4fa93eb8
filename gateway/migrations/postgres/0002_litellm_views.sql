-- The names and columns of LiteLLM's tables, so that queries, dashboards and scripts written for them go on working. In the
-- schema of the ledger: where LiteLLM's real tables live, that is `fleetgate` and not theirs.
CREATE VIEW "LiteLLM_SpendLogs" AS
SELECT
    coalesce(upstream_id, id) AS request_id,
    CASE endpoint
        WHEN 'chat' THEN 'acompletion'
        WHEN 'completions' THEN 'atext_completion'
        WHEN 'embeddings' THEN 'aembedding'
        WHEN 'messages' THEN 'anthropic_messages'
        WHEN 'responses' THEN 'aresponses'
        ELSE endpoint
    END AS call_type,
    CASE key_hash WHEN 'master' THEN 'litellm_proxy_master_key' ELSE key_hash END AS api_key,
    coalesce(cost_nanousd, 0)::double precision / 1e9 AS spend,
    least(coalesce(input_tokens, 0)::numeric + coalesce(output_tokens, 0), 2147483647)::integer AS total_tokens,
    least(coalesce(input_tokens, 0), 2147483647)::integer AS prompt_tokens,
    least(coalesce(output_tokens, 0), 2147483647)::integer AS completion_tokens,
    timestamp 'epoch' + started_at * interval '1 microsecond' AS "startTime",
    timestamp 'epoch' + ended_at * interval '1 microsecond' AS "endTime",
    least((ended_at - started_at) / 1000, 2147483647)::integer AS request_duration_ms,
    timestamp 'epoch' + first_byte_at * interval '1 microsecond' AS "completionStartTime",
    model,
    deployment_id AS model_id,
    model_requested AS model_group,
    provider AS custom_llm_provider,
    NULL::text AS api_base,
    coalesce(user_id, '') AS "user",
    jsonb_build_object(
        'user_api_key', CASE key_hash WHEN 'master' THEN 'litellm_proxy_master_key' ELSE key_hash END,
        'user_api_key_alias', key_alias,
        'user_api_key_user_id', user_id,
        'user_api_key_team_id', team_id,
        'user_agent', user_agent,
        'status', status,
        'error_information', CASE WHEN error IS NOT NULL
            THEN jsonb_build_object('error_message', error, 'error_code', http_status) END,
        'fleetgate', jsonb_build_object('host', host, 'workload', workload, 'cost_nanousd', cost_nanousd,
            'usage_source', usage_source, 'price_source', price_source, 'gateway', gateway)
    ) AS metadata,
    'False'::text AS cache_hit,
    'Cache OFF'::text AS cache_key,
    coalesce(tags, '[]')::jsonb AS request_tags,
    team_id,
    NULL::text AS organization_id,
    customer AS end_user,
    NULL::text AS requester_ip_address,
    '{}'::jsonb AS messages,
    '{}'::jsonb AS response,
    NULL::text AS session_id,
    CASE status WHEN 'success' THEN 'success' ELSE 'failure' END AS status,
    NULL::text AS mcp_namespaced_tool_name,
    NULL::text AS agent_id,
    '{}'::jsonb AS proxy_server_request,
    id AS litellm_call_id,
    timestamp 'epoch' + ended_at * interval '1 microsecond' AS created_at,
    timestamp 'epoch' + coalesce(repriced_at, ended_at) * interval '1 microsecond' AS updated_at
FROM entry
WHERE kind = 'call';

CREATE VIEW "LiteLLM_VerificationToken" AS
SELECT
    hash AS token,
    record ->> 'key_name' AS key_name,
    alias AS key_alias,
    false AS soft_budget_cooldown,
    coalesce(spent.nanousd, 0)::double precision / 1e9 AS spend,
    coalesce(spent.nanousd, 0)::double precision / 1e9 AS total_spend,
    (record ->> 'expires')::timestamptz AT TIME ZONE 'UTC' AS expires,
    ARRAY(SELECT jsonb_array_elements_text(coalesce(record -> 'models', '[]'))) AS models,
    coalesce(record -> 'other' -> 'aliases', '{}') AS aliases,
    coalesce(record -> 'other' -> 'config', '{}') AS config,
    record ->> 'user_id' AS user_id,
    record ->> 'team_id' AS team_id,
    record -> 'other' ->> 'organization_id' AS organization_id,
    record -> 'other' ->> 'budget_id' AS budget_id,
    coalesce(record -> 'other' -> 'permissions', '{}') AS permissions,
    (record -> 'other' ->> 'max_parallel_requests')::integer AS max_parallel_requests,
    coalesce(record -> 'metadata', '{}') AS metadata,
    coalesce((record ->> 'blocked')::boolean, false) AS blocked,
    (record -> 'other' ->> 'tpm_limit')::bigint AS tpm_limit,
    (record -> 'other' ->> 'rpm_limit')::bigint AS rpm_limit,
    (record -> 'other' ->> 'max_budget')::double precision AS max_budget,
    record -> 'other' ->> 'budget_duration' AS budget_duration,
    coalesce(record -> 'other' -> 'model_max_budget', '{}') AS model_max_budget,
    coalesce(record -> 'other' -> 'budget_limits', '[]') AS budget_limits,
    record ->> 'host' AS host,
    (record ->> 'created_at')::timestamptz AT TIME ZONE 'UTC' AS created_at,
    (record ->> 'updated_at')::timestamptz AT TIME ZONE 'UTC' AS updated_at
FROM virtual_key
LEFT JOIN (
    SELECT substr(scope, 5) AS key_hash, sum(cost_nanousd) AS nanousd FROM spend WHERE scope LIKE 'key:%' GROUP BY scope
) AS spent ON spent.key_hash = hash;
