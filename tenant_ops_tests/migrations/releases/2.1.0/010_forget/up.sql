DELETE FROM api_requests;
